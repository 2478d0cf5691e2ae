"""Resample the features of a config's splits once and for all, into files that all processes of a machine share.

python tools/cache_features.py --config-file F DATALOADER.CACHE_DIR dataset/clips [KEY VALUE ...]
"""

import argparse

import _path  # noqa: F401

from mmn.config import load_config
from mmn.engine.data_files import cache_features
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="yaml file, see configs/")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()
    cache_features(load_config(args.config_file, args.options))


if __name__ == "__main__":
    run_tool(main)
