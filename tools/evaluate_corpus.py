"""Search all videos of a split for the moments of its sentences: recall of videos and moments, for several rules.

python tools/evaluate_corpus.py --config-file F [--ckpt W] [--out FILE.md] [KEY VALUE ...]
python tools/evaluate_corpus.py --config-file F --ckpt "A=a/seed_*/pool_model_best.pth" --ckpt "B=..." compares trainings
"""

import argparse

import _path  # noqa: F401

from mmn.apps.ablation.significance import Resampling
from mmn.apps.corpus.corpus_recall import EVALUATED
from mmn.apps.corpus.corpus_tables import Training, evaluate_corpus, find_rules, parse_training
from mmn.apps.search.ranking_rules import DEFAULT_PER_VIDEO
from mmn.engine.run import start_run
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="yaml file, see configs/")
    parser.add_argument(
        "--ckpt",
        action="append",
        metavar="[NAME=]FILES",
        help="checkpoint, or a quoted pattern of those of several seeds; may be given several times; by default the best, "
        "else the last one of OUTPUT_DIR",
    )
    parser.add_argument(
        "--rules",
        default=",".join(EVALUATED),
        metavar="R,R",
        help="which, the first is compared with (default %(default)s)",
    )
    parser.add_argument(
        "--per-video", type=int, default=DEFAULT_PER_VIDEO, help="moments of a video in a list (default %(default)s)"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="write the tables with differences as .md, or all numbers as .json"
    )
    parser.add_argument(
        "--resamples", type=int, default=Resampling.count, help="of the bootstrap (default %(default)s)"
    )
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()

    rules = find_rules(args.rules.split(","))
    trainings = [parse_training(text) for text in args.ckpt or []] or [Training("model", [None])]
    cfg, device = start_run(args.config_file, args.options, training=False)
    evaluate_corpus(cfg, device, trainings, rules, Resampling(args.resamples), args.per_video, args.out)


if __name__ == "__main__":
    run_tool(main)
