"""Export weights as safetensors, with config and git revision in the metadata.

mmn export --ckpt W --out FILE.safetensors
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--ckpt", type="path", required=True, help="a checkpoint of a run")
    parser.add_argument("--out", type="path", required=True, metavar="FILE.safetensors", help="the file to write")


def run(args: Namespace) -> None:
    from mmn.utils.checkpoint import export_weights

    export_weights(args.ckpt, args.out)
    print(f"wrote {args.out}")
