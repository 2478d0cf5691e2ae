"""Evaluate a checkpoint: `python tools/test_net.py --config-file F --ckpt W [--dump FILE] [--partial] KEY VALUE ...`."""

import argparse

import _path  # noqa: F401

from mmn.engine.run import start_run, test
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True, help="yaml file, see configs/")
    parser.add_argument("--ckpt", help="checkpoint; by default the best, else the last one of OUTPUT_DIR")
    parser.add_argument("--dump", metavar="FILE", help="write the predictions, one json line per sentence")
    parser.add_argument("--partial", action="store_true", help="load what fits the model, and say what does not")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()

    cfg, device = start_run(args.config_file, args.options, training=False)
    test(cfg, device, args.ckpt, args.dump, args.partial)


if __name__ == "__main__":
    run_tool(main)
