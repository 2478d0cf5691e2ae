"""Check a GPU in one command: the tests that need one, then its speed in every form, as a table to paste.

mmn gpu-check [--settings charades activitynet tacos]
"""

from argparse import Namespace

from mmn.apps.benchmark.batch_sizes import SETTINGS
from mmn.commands.frame import CommandParser
from mmn.utils.errors import UserError


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--device", default="cuda", help="of the table (default %(default)s)")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY VALUE", help="config keys to override")


def run(args: Namespace) -> None:
    import tempfile

    from mmn.apps.benchmark.gpu import print_gpu_table, run_gpu_tests
    from mmn.utils.comm import resolve_device

    device = resolve_device(args.device, "--device")
    passed = run_gpu_tests()
    with tempfile.TemporaryDirectory() as encoder:
        print_gpu_table(args.settings, encoder, args.options, device)
    if not passed:
        raise UserError("tests of the GPU have failed, see above: report them with the table")
