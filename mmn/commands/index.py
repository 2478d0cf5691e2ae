"""Encode the moments of many videos into an index that sentences search.

mmn index [--ckpt W] --features H5 [--annotations FILE] --index PLACE [KEY VALUE ...]
mmn index [--ckpt W] --videos DIR|FILE ... --index PLACE
torchrun --nproc_per_node 4 -m mmn index ...             # several processes, each its share
mmn index --index PLACE --remove ID ...
mmn index --index PLACE --from INDEX --engine NAME

The same command goes on where an earlier one stopped; videos that are new are added, changed ones replaced.
docs/SEARCH.md has examples.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from mmn.apps.search.store_names import STORES
from mmn.commands.frame import CommandParser, refuse_flags

if TYPE_CHECKING:
    from mmn.apps.localize.localizer import MomentLocalizer
    from mmn.apps.search.video_collections import VideoCollection

# Flags of what is encoded.
MODEL = ("--ckpt", "--config-file", "--device", "KEY VALUE")
OF_ROWS = ("--feature-key", "--annotations")
OF_FILES = ("--backbone", "--recipe", "--backbone-weights", "--keep-extension")
MOMENTS = ("--window", "--overlap", "--prune")


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--index", type="path", required=True, metavar="PLACE", help="a folder, or the address of a server"
    )
    parser.add_argument(
        "--engine", default="auto", choices=["auto", *STORES], help="of a new index, see docs/SEARCH.md"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--features", type="path", metavar="H5", help="the videos of a feature file")
    what.add_argument("--videos", type="path", nargs="+", metavar="DIR|FILE", help="video files, and folders of them")
    what.add_argument("--remove", nargs="+", metavar="ID", help="take these videos out")
    what.add_argument("--from", type="path", dest="source", metavar="INDEX", help="copy this index, encoding nothing")
    parser.add_argument("--sync", action="store_true", help="take out the videos that are not among the given ones")
    model = parser.add_argument_group("the model")
    parser.add_model(model)
    parser.add_config_file(needed=False)
    model.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_mixed_options()
    features = parser.add_argument_group("features")
    features.add_argument("--feature-key", default="{vid}", help='where a video is in the file (default "%(default)s")')
    features.add_argument(
        "--annotations",
        type="path",
        metavar="FILE",
        help="how long the videos are, and which of the features are meant",
    )
    features.add_argument("--backbone", help="of video files: extract features by this one and its usual sampling")
    features.add_argument(
        "--recipe", type="path", metavar="H5", help="of video files: extract features as those of this file were"
    )
    features.add_argument("--backbone-weights", type="path", metavar="W", help="a name, a file or random:SEED")
    features.add_argument("--keep-extension", action="store_true", help="call a video s1.avi, not s1")
    moments = parser.add_argument_group("moments, of a new index")
    moments.add_argument("--window", type=float, metavar="SECONDS", help="cut videos into windows of this length")
    moments.add_argument(
        "--overlap", type=float, metavar="SECONDS", help="of neighbouring windows; default half a window"
    )
    moments.add_argument(
        "--prune", type=float, metavar="COSINE", help="leave out moments that are so near to another one"
    )


def run(args: Namespace) -> None:
    _refuse_what_has_no_effect(args)

    from mmn.apps.extraction.extract_files import start_extraction
    from mmn.apps.search.build_index import build_index
    from mmn.apps.search.change_index import convert_index, remove_videos
    from mmn.apps.search.indexed_video import BuildSettings

    device = start_extraction(args.device)
    if args.remove:
        remove_videos(args.index, args.remove)
    elif args.source:
        convert_index(args.source, args.index, args.engine)
    else:
        localizer = _load_localizer(args, device)
        asked = args.window, args.overlap, args.prune
        settings = None if asked == (None, None, None) else BuildSettings(*asked)
        build_index(localizer, _collect(args, localizer), args.index, args.engine, settings, args.sync)


def _refuse_what_has_no_effect(args: Namespace) -> None:
    if args.remove:
        refuse_flags(args, "--remove encodes nothing", "--engine", "--sync", *MODEL, *OF_ROWS, *OF_FILES, *MOMENTS)
    elif args.source:
        refuse_flags(args, "--from encodes nothing", "--sync", *MODEL, *OF_ROWS, *OF_FILES, *MOMENTS)
    elif args.features:
        refuse_flags(args, "--features are extracted already", *OF_FILES)
    else:
        refuse_flags(args, "--videos are files, not features", *OF_ROWS)


def _load_localizer(args: Namespace, device) -> MomentLocalizer:
    from mmn.apps.localize.model_source import ModelSource, load_localizer
    from mmn.utils.memory import reuse_freed_memory

    if device.type == "cpu":
        reuse_freed_memory()
    return load_localizer(
        ModelSource(args.ckpt, args.config_file, args.options, args.backbone, args.recipe, args.backbone_weights),
        device,
    )


def _collect(args: Namespace, localizer: MomentLocalizer) -> VideoCollection:
    from mmn.apps.search.video_collections import FeatureCollection, FileCollection

    if args.features:
        return FeatureCollection(args.features, args.feature_key, localizer.input_size, args.annotations)
    return FileCollection(args.videos, localizer, args.keep_extension)
