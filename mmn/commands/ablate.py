"""Train variants of a config with several seeds each, and compare them.

mmn ablate --config-file F --vary "MODEL.MMN.LOSS.MARGIN=0.4,0.2,0" [--vary ...] --seeds 3 [--jobs N]
mmn ablate --config-file F --runs ROWS.yaml --seeds 3

The table has means, intervals and p values; the first row is what the others are compared with. The same command goes
on where it was cut off.
"""

from argparse import Namespace
from pathlib import Path

from mmn.apps.ablation.resampling import Resampling
from mmn.commands.frame import CommandParser
from mmn.config import load_config


def add_arguments(parser: CommandParser) -> None:
    parser.add_config_file()
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument("--vary", action="append", metavar="KEY=V1,V2", help="values of a key; several make a grid")
    rows.add_argument(
        "--runs",
        type="path",
        metavar="YAML",
        help="a file of named rows and their keys, or a packaged one: paper, corpus",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs per row (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="runs at a time; default one, or one per GPU")
    parser.add_argument(
        "--out", type="path", metavar="DIR", help="folder of all runs; default OUTPUT_DIR of the config"
    )
    parser.add_argument(
        "--resamples", type=int, default=Resampling.count, help="of the bootstrap (default %(default)s)"
    )
    parser.add_argument("--no-figure", action="store_true", help="do without matplotlib")
    parser.add_options()


def run(args: Namespace) -> None:
    from mmn.apps.ablation.ablation_command import Sweep, ablate
    from mmn.apps.ablation.sweep_rows import grid_rows, read_rows
    from mmn.config.packaged import find_rows

    folder = Path(args.out or load_config(args.config_file, args.options).OUTPUT_DIR)
    rows = read_rows(find_rows(args.runs)) if args.runs else grid_rows(args.vary)
    sweep = Sweep(args.config_file, args.options, rows, args.seeds, folder)
    ablate(sweep, args.jobs, Resampling(args.resamples), not args.no_figure)
