"""Compare prediction files query by query, whichever tools wrote them: `python tools/compare.py A.jsonl B.jsonl`.

Several files of one side (seeds) are told from the next side's by `vs`: `compare.py A1 A2 A3 vs B1 B2 B3 vs C1 C2 C3`.
The first side is what the others are compared with. Sides with as many files are paired file by file.
"""

import argparse

import _path  # noqa: F401

from mmn.apps.ablation.ablation_command import compare_files
from mmn.apps.ablation.significance import Resampling
from mmn.config.paths_catalog import get_entry, load_catalog
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="two files, or groups of files with `vs` in between")
    parser.add_argument("--thresholds", nargs="+", type=float, metavar="IOU", help="of the recall; default 0.3 0.5 0.7")
    parser.add_argument("--split", help="take the thresholds of this catalog entry, e.g. tacos_test")
    parser.add_argument(
        "--resamples", type=int, default=Resampling.count, help="of the bootstrap (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=Resampling.seed, help="of the bootstrap (default %(default)s)")
    parser.add_argument("--out", metavar="STEM", help="also write STEM.md, STEM.csv and STEM.png")
    parser.add_argument("--no-figure", action="store_true", help="do without matplotlib")
    args = parser.parse_args()

    groups: list[list[str]] = [[]]
    for name in args.files:
        groups.append([]) if name == "vs" else groups[-1].append(name)
    if len(groups) == 1:
        groups = [[name] for name in args.files]
    thresholds = get_entry(args.split, load_catalog()).thresholds if args.split else args.thresholds or (0.3, 0.5, 0.7)
    compare_files(groups, thresholds, Resampling(args.resamples, args.seed), args.out, not args.no_figure)


if __name__ == "__main__":
    run_tool(main)
