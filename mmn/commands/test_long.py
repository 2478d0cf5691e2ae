"""Test a checkpoint on the test splits of a config whose videos last for hours, such as MAD and Ego4D.

mmn test-long --config-file F --ckpt W [--ranks 1 5 10 50 100] [--dump FILE] [--cache DIR] [KEY VALUE ...]

Every video is searched in windows, as `mmn localize` does; docs/LONG_VIDEO.md has examples.
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, WrongArguments
from mmn.config import load_config

RANKS = [1, 5, 10, 50, 100]


def add_arguments(parser: CommandParser) -> None:
    parser.add_config_file()
    parser.add_argument("--ckpt", type="path", required=True, help="a checkpoint, a model folder, or a name on the hub")
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS, help="of the table (default %(default)s)")
    parser.add_argument("--dump", type="path", metavar="FILE", help="write the predictions, one json line per sentence")
    parser.add_argument("--window", type=float, metavar="SECONDS", help="search in windows of this length")
    parser.add_argument(
        "--overlap", type=float, metavar="SECONDS", help="of neighbouring windows; default half a window"
    )
    parser.add_argument(
        "--cache",
        type="path",
        metavar="DIR",
        help="keep encodings there: a stopped test goes on, a second one loads them",
    )
    parser.add_options()


def run(args: Namespace) -> None:
    if min(args.ranks) < 1:
        raise WrongArguments(f"--ranks has {min(args.ranks)}: a rank is at least 1")
    cfg = load_config(args.config_file, args.options)

    from mmn.apps.localize.long_split import WindowOptions, test_long
    from mmn.utils.logger import setup_logger

    setup_logger(None, 0)
    test_long(cfg, args.ckpt, WindowOptions(args.window, args.overlap, args.cache), sorted(set(args.ranks)), args.dump)
