"""Kill a small run at random times, continue it, and compare its end to an undisturbed run's, bit for bit.

mmn chaos --kills 20 --processes 2
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--kills", type=int, default=20, help="in all")
    parser.add_argument("--kills-per-run", type=int, default=4, help="then a run may end and is compared")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_options()


def run(args: Namespace) -> None:
    from mmn.apps.benchmark.chaos import check_resuming

    check_resuming(args.kills, args.kills_per_run, args.processes, args.seed, args.options)
