"""List all problems of a config's annotations and features at once: `python tools/check_data.py --config-file F`."""

import argparse

import _path  # noqa: F401

from mmn.config import load_config
from mmn.engine.data_files import check_data
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True, help="yaml file, see configs/")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()
    check_data(load_config(args.config_file, args.options))


if __name__ == "__main__":
    run_tool(main)
