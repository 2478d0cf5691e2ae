"""Metrics of a split beside its recall, by the field `metrics` of its catalog entry or by `--metrics`.

Recall is computed for every split, since the best checkpoint is picked by it; some datasets report other metrics.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mmn.evaluation.qvhighlights_file import check_truth, detr_metrics, official_metrics
from mmn.structures.metric_names import DETR, QVHIGHLIGHTS, RECALL
from mmn.structures.query_lines import QueryLine


def any_truth(annotation: str) -> None:
    """Accept every annotation file that a dataset could be built from."""


class MetricKind(NamedTuple):
    """Metrics that a split is scored by once it is predicted.

    Attributes:
        check: annotation file -> DataError unless these metrics can be computed from it; before anything is predicted.
        needs_clip_scores: True where predictions have the saliency of clips too.
        report: (lines of the predictions, their name in messages, annotation file) -> the content of a metrics file, of
            which `brief` is the table, in percent; None where recall is all.
    """

    check: Callable[[str], None] = any_truth
    needs_clip_scores: bool = False
    report: Callable[[Sequence[QueryLine], str, str], dict[str, dict]] | None = None


def _detr_of_split(lines: Sequence[QueryLine], name: str, annotation: str) -> dict[str, dict]:
    return detr_metrics(lines, name)  # the lines have the truth, whatever the form of the annotation file


METRIC_KINDS = {
    RECALL: MetricKind(),
    DETR: MetricKind(report=_detr_of_split),
    QVHIGHLIGHTS: MetricKind(check=check_truth, needs_clip_scores=True, report=official_metrics),
}


def as_lines(records: Iterable[dict]) -> list[QueryLine]:
    """Records of a prediction file that are about to be written, as the lines that its reader would give."""
    return [
        QueryLine(f"sentence {record['qid']}", record, record["qid"], record["query"], record["vid"])
        for record in records
    ]
