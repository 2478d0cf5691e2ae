"""Measure the project's path against the plain form of the same computation, in turns, in one run.

mmn benchmark [--settings charades activitynet tacos] [--modes eval train] [--repeats 5] [--json FILE]
"""

from argparse import Namespace

from mmn.apps.benchmark.batch_sizes import LONG_VIDEO_MINUTES, SETTINGS
from mmn.commands.frame import CommandParser
from mmn.utils.errors import ConfigError


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--modes", nargs="+", choices=["eval", "train"], default=["eval", "train"])
    parser.add_argument("--repeats", type=int, default=5, help="turns per component")
    parser.add_argument("--json", type="path", metavar="FILE", help="write all figures there")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY VALUE", help="config keys to override")
    parser.add_argument("--components", nargs="+", default=[], metavar="NAME", help="measure these alone")
    parser.add_argument("--no-data", action="store_true", help="leave out the construction of a dataset")
    parser.add_argument(
        "--growth", type="path", metavar="PNG", help="instead, plot how cost grows with map, sentences and videos"
    )
    parser.add_argument("--latency", action="store_true", help="instead, time single queries on an encoded video")
    parser.add_argument("--tan2d", action="store_true", help="instead, 2D-TAN's convolutions, dense and fast")
    parser.add_argument(
        "--sentences",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="with --tan2d, MMN and 2D-TAN with N sentences",
    )
    parser.add_argument(
        "--long-recall",
        action="store_true",
        help="instead, recall in synthetic videos joined to long ones; needs --ckpt",
    )
    parser.add_argument(
        "--long-cost",
        action="store_true",
        help="instead, memory and time of long videos from pixels, and of their queries",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        nargs="+",
        default=list(LONG_VIDEO_MINUTES),
        help="of long videos (default %(default)s)",
    )
    parser.add_argument(
        "--split", choices=["val", "test"], default="test", help="of --long-recall (default %(default)s)"
    )
    parser.add_argument(
        "--ckpt", type="path", help="of this model, with --latency; by default the first of --settings, random weights"
    )


def run(args: Namespace) -> None:
    from mmn.apps.benchmark.benchmark_tables import run_benchmark
    from mmn.apps.benchmark.growth import plot_growth
    from mmn.apps.benchmark.latency import print_latency
    from mmn.apps.benchmark.long_cost import print_long_cost
    from mmn.apps.benchmark.long_recall import print_long_recall

    if args.latency:
        print_latency(args.ckpt, args.settings[0], args.repeats)
    elif args.long_recall:
        if args.ckpt is None:
            raise ConfigError("--long-recall measures a model of configs/synthetic.yaml: name its checkpoint by --ckpt")
        print_long_recall(args.ckpt, args.minutes, args.split)
    elif args.long_cost:
        print_long_cost(args.minutes)
    elif args.tan2d:
        from mmn.apps.benchmark.tan2d import print_tan2d

        print_tan2d(args.settings, args.modes, args.repeats, args.sentences)
    elif args.growth:
        plot_growth(args.growth, args.repeats)
    else:
        run_benchmark(
            args.settings, args.modes, args.repeats, args.options, args.json, not args.no_data, args.components
        )
