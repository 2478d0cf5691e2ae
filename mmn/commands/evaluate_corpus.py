"""Measure how well sentences find their moments among all videos of a split, for several rules.

mmn evaluate-corpus --config-file F [--ckpt W] [--out FILE.md] [KEY VALUE ...]
mmn evaluate-corpus --config-file F --ckpt "A=a/seed_*/pool_model_best.pth" --ckpt "B=..." compares trainings
"""

from argparse import Namespace

from mmn.apps.ablation.resampling import Resampling
from mmn.apps.corpus.evaluated_rules import EVALUATED
from mmn.apps.search.ranking_rules import DEFAULT_PER_VIDEO
from mmn.commands.frame import CommandParser
from mmn.config import load_config


def add_arguments(parser: CommandParser) -> None:
    parser.add_config_file()
    parser.add_argument(
        "--ckpt",
        type="path",
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
        "--out", type="path", metavar="FILE", help="write the tables with differences as .md, or all numbers as .json"
    )
    parser.add_argument(
        "--resamples", type=int, default=Resampling.count, help="of the bootstrap (default %(default)s)"
    )
    parser.add_options()


def run(args: Namespace) -> None:
    load_config(args.config_file, args.options)  # a mistake in it is told before the libraries are loaded

    from mmn.apps.corpus.corpus_tables import Training, evaluate_corpus, find_rules, parse_training
    from mmn.engine.run import start_run

    rules = find_rules(args.rules.split(","))
    trainings = [parse_training(text) for text in args.ckpt or []] or [Training("model", [None])]
    cfg, device = start_run(args.config_file, args.options, training=False, ckpt=trainings[0].checkpoints[0])
    evaluate_corpus(cfg, device, trainings, rules, Resampling(args.resamples), args.per_video, args.out)
