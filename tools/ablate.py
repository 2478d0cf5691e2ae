"""Train variants of a config with several seeds each, side by side, and compare them: means, intervals, p values.

python tools/ablate.py --config-file F --vary "MODEL.MMN.LOSS.MARGIN=0.4,0.2,0" [--vary ...] --seeds 3 [--jobs N]
python tools/ablate.py --config-file F --runs ROWS.yaml --seeds 3

The first row is what the others are compared with. The same command goes on where it was cut off.
"""

import argparse
from pathlib import Path

import _path  # noqa: F401

from mmn.apps.ablation.ablation_command import Sweep, ablate
from mmn.apps.ablation.significance import Resampling
from mmn.apps.ablation.sweep_rows import grid_rows, read_rows
from mmn.config import load_config
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="yaml file, see configs/")
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument("--vary", action="append", metavar="KEY=V1,V2", help="values of a key; several make a grid")
    rows.add_argument("--runs", metavar="YAML", help="named rows and their keys, see mmn/apps/ablation/sweep_rows.py")
    parser.add_argument("--seeds", type=int, default=3, help="runs per row (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="runs at a time; default one, or one per GPU")
    parser.add_argument("--out", metavar="DIR", help="folder of all runs; default OUTPUT_DIR of the config")
    parser.add_argument(
        "--resamples", type=int, default=Resampling.count, help="of the bootstrap (default %(default)s)"
    )
    parser.add_argument("--no-figure", action="store_true", help="do without matplotlib")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys of all runs")
    args = parser.parse_args()

    folder = Path(args.out or load_config(args.config_file, args.options).OUTPUT_DIR)
    rows = read_rows(args.runs) if args.runs else grid_rows(args.vary)
    sweep = Sweep(args.config_file, args.options, rows, args.seeds, folder, Path(__file__).parent)
    ablate(sweep, args.jobs, Resampling(args.resamples), not args.no_figure)


if __name__ == "__main__":
    run_tool(main)
