"""Find the moments that sentences describe in a video.

mmn localize VIDEO "a person opens a door" ["sentence" ...] [--ckpt W] [--top-k 5] [--json FILE] [--plot FILE.png]
    [--clip-dir DIR] [--features H5] [KEY VALUE ...]

docs/LOCALIZE.md has examples.
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, refuse_flags


def add_arguments(parser: CommandParser) -> None:
    parser.takes_flags_anywhere = True
    parser.add_argument("video", type="path", help="a video file; with --features, or a name in that file")
    parser.add_argument(
        "words", nargs="+", metavar="sentence", help="what is looked for; then KEY VALUE pairs over the config"
    )
    parser.add_model()
    parser.add_config_file(needed=False)
    parser.add_argument("--top-k", type=int, default=5, help="moments per sentence (default %(default)s)")
    files = parser.add_argument_group("files to write")
    files.add_argument(
        "--json", type="path", metavar="FILE", help="a line per sentence, as `mmn test --dump` writes them"
    )
    files.add_argument(
        "--plot", type="path", metavar="FILE.png", help="timeline, frames and score map of each sentence"
    )
    files.add_argument("--clip-dir", type="path", metavar="DIR", help="cut the moments out, as a video file each")
    long = parser.add_argument_group("long videos")
    long.add_argument("--window", type=float, metavar="SECONDS", help="search in windows of this length")
    long.add_argument("--overlap", type=float, metavar="SECONDS", help="of neighbouring windows; default half a window")
    long.add_argument(
        "--cache",
        type="path",
        metavar="DIR",
        help="keep the encoding there: a stopped one goes on, a whole one is loaded",
    )
    features = parser.add_argument_group("features, by default extracted as the checkpoint says")
    features.add_argument("--features", type="path", metavar="H5", help="take them from this file")
    features.add_argument("--feature-key", default="{vid}", help='where in the file (default "%(default)s")')
    features.add_argument(
        "--duration", type=float, metavar="SECONDS", help="of a video that is there as features alone"
    )
    features.add_argument("--backbone", help="extract them with this one and its usual sampling")
    features.add_argument("--recipe", type="path", metavar="H5", help="extract them as those of this file were")
    features.add_argument("--backbone-weights", type="path", metavar="W", help="a name, a file or random:SEED")


def run(args: Namespace) -> None:
    if args.features:
        refuse_flags(args, "--features are extracted already", "--backbone", "--recipe", "--backbone-weights")
    else:
        refuse_flags(args, "only --features has keys", "--feature-key")

    from mmn.apps.localize.localize_command import Outputs, localize_video, split_queries
    from mmn.apps.localize.model_source import ModelSource, load_localizer
    from mmn.apps.localize.video_source import VideoSource

    queries, options = split_queries(args.words)
    localizer = load_localizer(
        ModelSource(args.ckpt, args.config_file, options, args.backbone, args.recipe, args.backbone_weights)
    )
    localize_video(
        localizer,
        VideoSource(args.video, args.features, args.feature_key, args.duration),
        queries,
        args.top_k,
        Outputs(args.json, args.plot, args.clip_dir),
        args.window,
        args.overlap,
        args.cache,
    )
