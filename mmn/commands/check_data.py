"""List all problems of a config's annotations and features at once.

mmn check-data --config-file F KEY VALUE ...
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser
from mmn.config import load_config


def add_arguments(parser: CommandParser) -> None:
    parser.add_config_file()
    parser.add_options()


def run(args: Namespace) -> None:
    cfg = load_config(args.config_file, args.options)

    from mmn.engine.data_files import check_data

    check_data(cfg)
