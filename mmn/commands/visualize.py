"""Draw pictures of a prediction file and of a training run, and an html page that shows them.

mmn visualize --predictions FILE [--maps FILE.h5] [--metrics metrics.jsonl] --out FOLDER
"""

from argparse import Namespace

from mmn.apps.visual.query_choice import CHOICES, QueryChoice
from mmn.commands.frame import CommandParser, check_truth, refuse_flags


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--predictions", type="path", metavar="FILE", help="as `mmn test --dump` writes it, or another tool"
    )
    parser.add_truth()
    parser.add_argument(
        "--maps", type="path", metavar="FILE.h5", help="as `mmn test --dump-maps` writes it beside the predictions"
    )
    parser.add_argument(
        "--metrics", type="path", metavar="FILE", help="metrics.jsonl of a run, for the training curves"
    )
    parser.add_argument(
        "--out", type="path", required=True, metavar="FOLDER", help="where the png files and index.html go"
    )
    parser.add_argument("--queries", type=int, default=4, metavar="N", help="pictures per choice of queries; default 4")
    parser.add_argument(
        "--choose", nargs="+", choices=CHOICES, default=["worst", "best", "random"], help="default: worst best random"
    )
    parser.add_argument("--qids", nargs="+", default=[], metavar="QID", help="pictures of these queries instead")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice")


def run(args: Namespace) -> None:
    check_truth(args)
    if not args.predictions:
        refuse_flags(args, "only --predictions have queries", "--queries", "--choose", "--qids", "--seed")
    if args.qids:
        refuse_flags(args, "--qids are the queries themselves", "--queries", "--choose", "--seed")
    if "random" not in args.choose:
        refuse_flags(args, "--choose without random draws nothing", "--seed")

    from mmn.apps.visual.picture_report import write_report
    from mmn.utils.logger import setup_logger

    setup_logger(None, 0)
    choice = QueryChoice(args.queries, tuple(args.choose), tuple(args.qids), args.seed)
    write_report(args.out, args.predictions, args.truth, args.maps, args.metrics, choice, args.missing_as_wrong)
