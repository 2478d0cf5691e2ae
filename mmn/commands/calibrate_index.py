"""Measure on a split what the scores of an index mean, so that a search can say that nothing fits.

mmn calibrate-index --index PLACE --ckpt W [--config-file F] [--split NAME] [--measure NAME] [KEY VALUE ...]

Writes it into the index, and prints how often thresholds err. docs/SEARCH.md says what the numbers mean.
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--index", type="path", required=True, metavar="PLACE", help="a folder, or the address of a server"
    )
    parser.add_argument("--ckpt", type="path", required=True, metavar="W", help="the model that built the index")
    parser.add_config_file(needed=False)
    parser.add_argument("--split", metavar="NAME", help="to calibrate on; by default DATASETS.VAL")
    parser.add_argument(
        "--measure",
        action="append",
        metavar="NAME",
        help="a split to count errors on besides, may be given several times; by default those of DATASETS.TEST",
    )
    parser.add_mixed_options()


def run(args: Namespace) -> None:
    from mmn.apps.localize.model_source import ModelSource, load_localizer
    from mmn.apps.search.calibrate_index import calibrate_index

    localizer = load_localizer(ModelSource(args.ckpt, args.config_file, args.options))
    calibrate_index(localizer, localizer.cfg, args.index, args.split, args.measure)
