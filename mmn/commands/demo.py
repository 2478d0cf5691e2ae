"""Open a web page on which to find moments in a video, or in a library of videos.

mmn demo [--ckpt W] [--videos FOLDER|FILE ...] [--annotations FILE] [--index PLACE] [KEY VALUE ...]

Without a model it takes zero-shot:conse, which needs neither network nor training (pip install .[conse]); without videos
too, the model and the test videos of scripts/pixels.sh, where these have been made. docs/PICTURES.md shows the page.
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, refuse_flags


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--ckpt",
        type="path",
        metavar="W",
        help="a checkpoint, a model folder, a name on the hub, or zero-shot:NAME",
    )
    parser.add_config_file(needed=False)
    parser.add_argument(
        "--videos", type="path", nargs="+", metavar="PLACE", help="video files and folders that can be picked"
    )
    parser.add_argument("--annotations", type="path", metavar="FILE", help="json with what is known to happen in them")
    parser.add_argument(
        "--index", type="path", metavar="PLACE", help="of `mmn index`: the library; default: one of --videos"
    )
    parser.add_argument("--backbone", help="extract features with this one and its usual sampling")
    parser.add_argument("--recipe", type="path", metavar="H5", help="extract them as those of this file were")
    parser.add_argument("--backbone-weights", type="path", metavar="W", help="a name, a file or random:SEED")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in; default %(default)s")
    parser.add_argument("--port", type=int, default=7860, help="default %(default)s")
    parser.add_options()


def run(args: Namespace) -> None:
    if args.ckpt and not args.videos and not args.index:
        refuse_flags(args, "--annotations are of --videos or of an --index", "--annotations")

    from mmn.apps.demo.demo_command import PageVideos, run_demo
    from mmn.apps.localize.model_source import ModelSource

    weights = args.backbone_weights
    source = ModelSource(args.ckpt, args.config_file, args.options, args.backbone, args.recipe, weights)
    run_demo(source, PageVideos(args.videos, args.annotations, args.index), args.host, args.port)
