"""Weights as safetensors, config and git revision in the metadata: `python tools/export_weights.py --ckpt W --out F`."""

import argparse

import _path  # noqa: F401

from mmn.utils.checkpoint import export_weights
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt", required=True, help="a checkpoint of a run")
    parser.add_argument("--out", required=True, metavar="FILE.safetensors", help="the file to write")
    args = parser.parse_args()
    export_weights(args.ckpt, args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    run_tool(main)
