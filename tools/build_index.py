"""Encode the moments of many videos into an index that sentences search. docs/SEARCH.md has examples.

python tools/build_index.py --ckpt W --features H5 [--annotations JSON] --index PLACE [KEY VALUE ...]
python tools/build_index.py --ckpt W --videos DIR|FILE ... --index PLACE
torchrun --nproc_per_node 4 tools/build_index.py ...             # several processes, each its share
python tools/build_index.py --index PLACE --remove ID ...
python tools/build_index.py --index PLACE --from INDEX --engine NAME

The same command goes on where an earlier one stopped; videos that are new are added, changed ones replaced.
"""

import argparse

import _path  # noqa: F401

from mmn.apps.extraction.extract_files import start_extraction
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.model_source import ModelSource, load_localizer
from mmn.apps.search.build_index import build_index
from mmn.apps.search.change_index import convert_index, remove_videos
from mmn.apps.search.indexed_video import BuildSettings
from mmn.apps.search.vector_store import STORES
from mmn.apps.search.video_collections import FeatureCollection, FileCollection, VideoCollection
from mmn.utils.cli import run_tool
from mmn.utils.memory import reuse_freed_memory


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True, metavar="PLACE", help="a folder, or the address of a server")
    parser.add_argument(
        "--engine", default="auto", choices=["auto", *STORES], help="of a new index, see docs/SEARCH.md"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--features", metavar="H5", help="the videos of a feature file")
    what.add_argument("--videos", nargs="+", metavar="DIR|FILE", help="video files, and folders of them")
    what.add_argument("--remove", nargs="+", metavar="ID", help="take these videos out")
    what.add_argument("--from", dest="source", metavar="INDEX", help="copy this index, encoding nothing")
    parser.add_argument("--sync", action="store_true", help="take out the videos that are not among the given ones")
    model = parser.add_argument_group("the model")
    model.add_argument("--ckpt", metavar="W", help="a checkpoint of a run, or exported weights")
    model.add_argument("--config-file", help="yaml file, for a checkpoint that does not carry its config")
    model.add_argument("--device", default="auto", help="auto, cpu or cuda")
    model.add_argument("options", nargs="*", metavar="KEY VALUE", help="over the config")
    features = parser.add_argument_group("features")
    features.add_argument("--feature-key", default="{vid}", help='where a video is in the file (default "%(default)s")')
    features.add_argument(
        "--annotations", metavar="JSON", help="how long the videos are, and which of the file are meant"
    )
    features.add_argument("--backbone", help="of video files: extract features by this one and its usual sampling")
    features.add_argument("--recipe", metavar="H5", help="of video files: extract features as those of this file were")
    features.add_argument("--backbone-weights", metavar="W", help="a name, a file or random:SEED")
    features.add_argument("--keep-extension", action="store_true", help="call a video s1.avi, not s1")
    moments = parser.add_argument_group("moments, of a new index")
    moments.add_argument("--window", type=float, metavar="SECONDS", help="cut videos into windows of this length")
    moments.add_argument(
        "--overlap", type=float, metavar="SECONDS", help="of neighbouring windows; default half a window"
    )
    moments.add_argument(
        "--prune", type=float, metavar="COSINE", help="leave out moments that are so near to another one"
    )
    args = parser.parse_intermixed_args()
    if (args.features or args.videos) and not args.ckpt:
        parser.error("--ckpt is needed to encode videos")
    return args


def collect(args: argparse.Namespace, localizer: MomentLocalizer) -> VideoCollection:
    if args.features:
        return FeatureCollection(args.features, args.feature_key, localizer.input_size, args.annotations)
    return FileCollection(args.videos, localizer, args.keep_extension)


def main() -> None:
    args = parse_arguments()
    device = start_extraction(args.device)
    if args.remove:
        remove_videos(args.index, args.remove)
    elif args.source:
        convert_index(args.source, args.index, args.engine)
    else:
        model = ModelSource(
            args.ckpt, args.config_file, args.options, args.backbone, args.recipe, args.backbone_weights
        )
        if device.type == "cpu":
            reuse_freed_memory()
        localizer = load_localizer(model, device)
        asked = args.window, args.overlap, args.prune
        settings = None if asked == (None, None, None) else BuildSettings(*asked)
        build_index(localizer, collect(args, localizer), args.index, args.engine, settings, args.sync)


if __name__ == "__main__":
    run_tool(main)
