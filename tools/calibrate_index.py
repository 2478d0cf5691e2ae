"""Measure on a validation split what the scores of an index mean, so that a search can say that nothing fits.

python tools/calibrate_index.py --index PLACE --ckpt W [--config-file F] [--split NAME] [--measure NAME] [KEY VALUE ...]

Writes it into the index, and prints how often thresholds err. docs/SEARCH.md says what the numbers mean.
"""

import argparse

import _path  # noqa: F401

from mmn.apps.localize.model_source import ModelSource, load_localizer
from mmn.apps.localize.trained_model import checkpoint_config
from mmn.apps.search.calibrate_index import calibrate_index
from mmn.utils.checkpoint import load_checkpoint
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True, metavar="PLACE", help="a folder, or the address of a server")
    parser.add_argument("--ckpt", required=True, metavar="W", help="the model that built it")
    parser.add_argument("--config-file", help="yaml file, for a checkpoint that does not carry its config")
    parser.add_argument("--split", metavar="NAME", help="to calibrate on; by default DATASETS.VAL")
    parser.add_argument(
        "--measure",
        action="append",
        metavar="NAME",
        help="a split to count errors on besides, may be given several times; by default those of DATASETS.TEST",
    )
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_intermixed_args()
    cfg = checkpoint_config(load_checkpoint(args.ckpt), args.ckpt, args.config_file, args.options)
    localizer = load_localizer(ModelSource(args.ckpt, args.config_file, args.options))
    calibrate_index(localizer, cfg, args.index, args.split, args.measure)


if __name__ == "__main__":
    run_tool(main)
