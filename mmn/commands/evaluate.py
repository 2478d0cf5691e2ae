"""Score a prediction file without a model. The moments of a query are ranked by their scores, the first first where equal.

mmn evaluate --predictions FILE [--truth FILE] [--split NAME]
mmn evaluate --predictions FILE --truth FILE --metrics qvhighlights [--metrics-out FILE]
mmn evaluate --predictions FILE [--truth FILE] --metrics detr
mmn evaluate --predictions FILE --annotations JSON       tubes (HC-STVG) by the json file with their truth
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, WrongArguments, refuse_flags
from mmn.structures.metric_names import DETR, METRICS, RECALL


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--predictions", type="path", required=True, metavar="FILE", help="as `mmn test --dump` writes it"
    )
    parser.add_truth()
    recall = parser.add_mutually_exclusive_group()
    recall.add_argument("--thresholds", nargs="+", type=float, metavar="IOU", help="of the recall; default 0.3 0.5 0.7")
    parser.add_argument("--annotations", type="path", metavar="FILE", help="of HC-STVG, the truth of predicted tubes")
    recall.add_argument("--split", help="take the thresholds of this catalog entry, e.g. tacos_test")
    parser.add_argument(
        "--metrics",
        choices=METRICS,
        help="; ".join(f"{name}: {meaning}" for name, meaning in METRICS.items())
        + ". Default: of --split, else recall",
    )
    parser.add_argument(
        "--metrics-out", type="path", metavar="FILE", help="write the official metrics file of QVHighlights"
    )
    parser.add_argument("--examples", type=int, default=0, metavar="N", help="also show N queries")


def run(args: Namespace) -> None:
    from mmn.config.catalog_entries import CatalogEntry, TubeEntry
    from mmn.config.paths_catalog import get_entry, load_catalog

    if args.missing_as_wrong and not (args.truth or args.annotations):
        raise WrongArguments(
            "--missing-as-wrong goes with --truth FILE or --annotations FILE, which say what is missing"
        )
    if args.annotations:
        refuse_flags(args, "--annotations are the truth of tubes", "--truth")
    entry = get_entry(args.split, load_catalog()) if args.split else None
    metrics = args.metrics or (entry.metrics if entry else RECALL)
    if metrics != RECALL:
        _score_officially(args, metrics)
        return
    if args.metrics_out:
        raise WrongArguments("--metrics-out goes with --metrics qvhighlights")
    thresholds = entry.thresholds if entry else args.thresholds
    count, as_wrong = args.examples, args.missing_as_wrong
    if args.annotations:
        from mmn.evaluation.tube_metrics import score_tube_file

        score_tube_file(args.predictions, args.annotations, thresholds or TubeEntry.thresholds, count, as_wrong)
    else:
        from mmn.evaluation.score_file import score_file

        score_file(args.predictions, thresholds or CatalogEntry.thresholds, count, args.truth, as_wrong)


def _score_officially(args: Namespace, metrics: str) -> None:
    from mmn.evaluation.qvhighlights_file import score_detr_file, score_qvhighlights_file

    if args.missing_as_wrong or args.thresholds or args.annotations or args.examples:
        raise WrongArguments(
            f"the metrics {metrics} are of all queries at fixed thresholds: leave out --missing-as-wrong, --thresholds, "
            "--annotations and --examples"
        )
    if metrics == DETR:
        if args.metrics_out:
            raise WrongArguments("--metrics-out goes with --metrics qvhighlights")
        score_detr_file(args.predictions, args.truth)
        return
    if not args.truth:
        raise WrongArguments("the metrics qvhighlights need --truth FILE, the annotations of the split")
    score_qvhighlights_file(args.predictions, args.truth, args.metrics_out)
