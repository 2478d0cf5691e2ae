"""Score a prediction file without a model: `python tools/evaluate.py --predictions FILE`.

For tubes (HC-STVG) add `--annotations FILE`, the json file with their truth.
"""

import argparse

import _path  # noqa: F401

from mmn.config.paths_catalog import CatalogEntry, TubeEntry, get_entry, load_catalog
from mmn.evaluation.score_file import score_file
from mmn.evaluation.tube_metrics import score_tube_file
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", required=True, metavar="FILE", help="as test_net.py --dump writes it")
    parser.add_argument("--truth", metavar="FILE", help="json lines with the true moments, where FILE has none")
    parser.add_argument("--thresholds", nargs="+", type=float, metavar="IOU", help="of the recall; default 0.3 0.5 0.7")
    parser.add_argument("--annotations", metavar="FILE", help="of HC-STVG, the truth of predicted tubes")
    parser.add_argument("--split", help="take the thresholds of this catalog entry, e.g. tacos_test")
    parser.add_argument("--examples", type=int, default=0, metavar="N", help="also show N queries")
    args = parser.parse_args()

    thresholds = get_entry(args.split, load_catalog()).thresholds if args.split else args.thresholds
    if args.annotations:
        score_tube_file(args.predictions, args.annotations, thresholds or TubeEntry.thresholds, args.examples)
    else:
        score_file(args.predictions, thresholds or CatalogEntry.thresholds, args.examples, args.truth)


if __name__ == "__main__":
    run_tool(main)
