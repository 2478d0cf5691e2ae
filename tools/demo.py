"""A web page on which to find moments in a video, or in a library of videos. docs/PICTURES.md shows it.

`python tools/demo.py [--ckpt W] [--videos FOLDER|FILE ...] [--annotations FILE] [--index PLACE] [KEY VALUE ...]`; without
arguments it takes the model and the test videos of scripts/pixels.sh.
"""

import argparse

import _path  # noqa: F401

from mmn.apps.demo.demo_command import PageVideos, run_demo
from mmn.apps.localize.model_source import ModelSource
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", help="a checkpoint of a run, or exported weights; default: that of scripts/pixels.sh")
    parser.add_argument("--config-file", help="yaml file, for a checkpoint that does not carry its config")
    parser.add_argument("--videos", nargs="+", metavar="PLACE", help="video files and folders that can be picked")
    parser.add_argument("--annotations", metavar="FILE", help="json with what is known to happen in them")
    parser.add_argument(
        "--index", metavar="PLACE", help="of tools/build_index.py: the library; default: one of --videos"
    )
    parser.add_argument("--backbone", help="extract features with this one and its usual sampling")
    parser.add_argument("--recipe", metavar="H5", help="extract them as those of this file were")
    parser.add_argument("--backbone-weights", metavar="W", help="a name, a file or random:SEED")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in; default %(default)s")
    parser.add_argument("--port", type=int, default=7860, help="default %(default)s")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()

    weights = args.backbone_weights
    source = ModelSource(args.ckpt, args.config_file, args.options, args.backbone, args.recipe, weights)
    run_demo(source, PageVideos(args.videos, args.annotations, args.index), args.host, args.port)


if __name__ == "__main__":
    run_tool(main)
