"""Measure the project's path against the plain form of the same computation, in turns, in one run.

mmn benchmark [--settings charades activitynet tacos] [--modes eval train] [--repeats 5] [--json FILE]
"""

from argparse import Namespace

from mmn.apps.benchmark.batch_sizes import DATA_TABLES, LONG_VIDEO_MINUTES, MODES, PARTS, SETTINGS
from mmn.commands.frame import CommandParser, WrongArguments, refuse_flags
from mmn.utils.number_arguments import above_zero, whole_number

# Flags by what they belong to: the tables, and each flag that asks for something else instead.
FLAGS: dict[str, tuple[str, ...]] = {
    "": ("--settings", "--modes", "--repeats", "--json", "--options", "--components", "--no-data"),
    "--growth": ("--repeats",),
    "--latency": ("--settings", "--repeats", "--ckpt"),
    "--tan2d": ("--settings", "--modes", "--repeats", "--sentences"),
    "--long-recall": ("--minutes", "--split", "--ckpt"),
    "--long-cost": ("--minutes",),
}
ALL_FLAGS = tuple(dict.fromkeys(flag for flags in FLAGS.values() for flag in flags))


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--repeats", type=whole_number, default=5, help="turns per component")
    parser.add_argument("--json", type="path", metavar="FILE", help="write all figures there")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY VALUE", help="config keys to override")
    parser.add_argument(
        "--components",
        nargs="+",
        choices=list(PARTS),
        default=[],
        metavar="NAME",
        help="measure these alone, of: " + ", ".join(PARTS),
    )
    parser.add_argument("--no-data", action="store_true", help="leave out " + ", ".join(DATA_TABLES))
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--growth", type="path", metavar="PNG", help="instead, plot how cost grows with map, sentences and videos"
    )
    instead.add_argument("--latency", action="store_true", help="instead, time single queries on an encoded video")
    instead.add_argument("--tan2d", action="store_true", help="instead, 2D-TAN's convolutions, dense and fast")
    instead.add_argument(
        "--long-recall",
        action="store_true",
        help="instead, recall in synthetic videos joined to long ones; needs --ckpt",
    )
    instead.add_argument(
        "--long-cost",
        action="store_true",
        help="instead, memory and time of long videos from pixels, and of their queries",
    )
    parser.add_argument(
        "--sentences",
        nargs="+",
        type=whole_number,
        default=[],
        metavar="N",
        help="with --tan2d, MMN and 2D-TAN with N sentences",
    )
    parser.add_argument(
        "--minutes",
        type=above_zero,
        nargs="+",
        default=list(LONG_VIDEO_MINUTES),
        help="of long videos (default %(default)s)",
    )
    parser.add_argument(
        "--split", choices=["val", "test"], default="test", help="of --long-recall (default %(default)s)"
    )
    parser.add_argument(
        "--ckpt",
        type="path",
        help="of this model, with --latency or --long-recall; by default --latency takes the first of --settings, with "
        "random weights",
    )


def run(args: Namespace) -> None:
    instead = next((flag for flag in FLAGS if flag in args.given), "")
    others = [flag for flag in ALL_FLAGS if flag not in FLAGS[instead]]
    takes = f"{instead} takes" if instead else "the tables take"
    refuse_flags(args, f"{takes} {', '.join(FLAGS[instead])} alone", *others)
    if args.long_recall and args.ckpt is None:
        raise WrongArguments("--long-recall measures a model of configs/synthetic.yaml: name its checkpoint by --ckpt")
    parts = wanted_parts(args)

    from mmn.apps.benchmark.benchmark_tables import run_benchmark
    from mmn.apps.benchmark.growth import plot_growth
    from mmn.apps.benchmark.latency import print_latency
    from mmn.apps.benchmark.long_cost import print_long_cost
    from mmn.apps.benchmark.long_recall import print_long_recall
    from mmn.apps.benchmark.tan2d import print_tan2d

    if args.latency:
        print_latency(args.ckpt, args.settings[0], args.repeats)
    elif args.long_recall:
        print_long_recall(args.ckpt, args.minutes, args.split)
    elif args.long_cost:
        print_long_cost(args.minutes)
    elif args.tan2d:
        print_tan2d(args.settings, args.modes, args.repeats, args.sentences)
    elif args.growth:
        plot_growth(args.growth, args.repeats)
    else:
        run_benchmark(args.settings, args.modes, args.repeats, args.options, args.json, parts)


def wanted_parts(args: Namespace) -> list[str]:
    """The parts that the tables are to have. Raises WrongArguments for one that the modes asked for do not have."""
    if not args.components:
        return [part for part in PARTS if not (args.no_data and part in DATA_TABLES)]
    refuse_flags(args, "--components are measured alone", "--no-data")
    for part in args.components:
        if not set(PARTS[part]) & set(args.modes):
            raise WrongArguments(f"--components: {part!r} is measured with --modes {PARTS[part][0]} alone")
    return args.components
