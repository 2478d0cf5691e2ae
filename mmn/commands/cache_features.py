"""Resample the features of a config's splits once, into files that all processes share.

mmn cache-features --config-file F DATALOADER.CACHE_DIR dataset/clips [KEY VALUE ...]
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser
from mmn.config import load_config


def add_arguments(parser: CommandParser) -> None:
    parser.add_config_file()
    parser.add_options()


def run(args: Namespace) -> None:
    cfg = load_config(args.config_file, args.options)

    from mmn.engine.data_files import cache_features

    cache_features(cfg)
