"""Score a prediction file without a model.

mmn evaluate --predictions FILE [--truth FILE] [--split NAME]
mmn evaluate --predictions FILE --annotations JSON       tubes (HC-STVG) by the json file with their truth
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, WrongArguments


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--predictions", required=True, metavar="FILE", help="as `mmn test --dump` writes it")
    parser.add_argument("--truth", metavar="FILE", help="json lines with the true moments, where FILE has none")
    parser.add_argument("--thresholds", nargs="+", type=float, metavar="IOU", help="of the recall; default 0.3 0.5 0.7")
    parser.add_argument("--annotations", metavar="FILE", help="of HC-STVG, the truth of predicted tubes")
    parser.add_argument("--split", help="take the thresholds of this catalog entry, e.g. tacos_test")
    parser.add_argument(
        "--missing-as-wrong",
        action="store_true",
        help="let queries of --truth, or videos of --annotations, count as wrong where they have no prediction",
    )
    parser.add_argument("--examples", type=int, default=0, metavar="N", help="also show N queries")


def run(args: Namespace) -> None:
    from mmn.config.paths_catalog import CatalogEntry, TubeEntry, get_entry, load_catalog

    if args.missing_as_wrong and not (args.truth or args.annotations):
        raise WrongArguments(
            "--missing-as-wrong goes with --truth FILE or --annotations FILE, which say what is missing"
        )
    thresholds = get_entry(args.split, load_catalog()).thresholds if args.split else args.thresholds
    count, as_wrong = args.examples, args.missing_as_wrong
    if args.annotations:
        from mmn.evaluation.tube_metrics import score_tube_file

        score_tube_file(args.predictions, args.annotations, thresholds or TubeEntry.thresholds, count, as_wrong)
    else:
        from mmn.evaluation.score_file import score_file

        score_file(args.predictions, thresholds or CatalogEntry.thresholds, count, args.truth, as_wrong)
