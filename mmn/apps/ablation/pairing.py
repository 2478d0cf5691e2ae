"""Bringing prediction files together query by query, whichever tools wrote them."""

from collections.abc import Sequence

import numpy as np

from mmn.evaluation.prediction_file import QueryPrediction, read_predictions
from mmn.evaluation.score_file import score_queries
from mmn.utils.errors import DataError

TRUTH_TOLERANCE = 0.01  # seconds by which two files may differ on a true moment: some tools round


def read_scores(paths: Sequence[str], thresholds: Sequence[float]) -> list[dict[str, np.ndarray]]:
    """The scores of the queries of each file (see `score_queries`), all in the order of the first file.

    Raises DataError, naming file and query, where the files are not of the same queries with the same true moments.
    """
    scores, first = [], None
    for path in paths:
        records = _by_qid(path)
        first = first or (path, records)
        _refuse_other_queries(*first, path, records)
        scores.append(score_queries([records[qid] for qid in first[1]], thresholds))
    return scores


def _by_qid(path: str) -> dict[str, QueryPrediction]:
    records: dict[str, QueryPrediction] = {}
    for number, record in enumerate(read_predictions(path), start=1):
        if record.qid is None:
            raise DataError(
                f"query {number} of {path} ({record.query[:60]!r}) has no qid, by which files are paired: add it"
            )
        qid = str(record.qid)  # other tools may write the same number as text
        if qid in records:
            raise DataError(f"{path} has qid {qid} twice: leave one of the two out")
        records[qid] = record
    return records


def _refuse_other_queries(
    path: str, records: dict[str, QueryPrediction], other_path: str, others: dict[str, QueryPrediction]
) -> None:
    for one, some, another, rest in ((path, records, other_path, others), (other_path, others, path, records)):
        missing = [qid for qid in some if qid not in rest]
        if missing:
            raise DataError(
                f"{another} lacks {len(missing)} queries of {one}, the first is qid {missing[0]} "
                f"({some[missing[0]].query[:60]!r}): compare predictions for the same split"
            )
    for qid, record in records.items():
        difference = _difference(record, others[qid])
        if difference:
            raise DataError(
                f"qid {qid} has {difference[0]} in {path} but {difference[1]} in {other_path}: compare predictions for the "
                "same split"
            )


def _difference(one: QueryPrediction, other: QueryPrediction) -> tuple[str, str] | None:
    """What two lines of the same qid say differently about the query; a text that one of them lacks is no difference."""
    for kind in ("query", "video_id"):
        texts = getattr(one, kind).strip(), getattr(other, kind).strip()
        if all(texts) and texts[0] != texts[1]:
            return f"the {kind.removesuffix('_id')} {texts[0]!r}", repr(texts[1])
    truths = [record.truth[record.truth[:, 0].argsort(kind="stable")] for record in (one, other)]
    is_same = truths[0].shape == truths[1].shape and np.allclose(*truths, rtol=0, atol=TRUTH_TOLERANCE)
    return None if is_same else (f"the true moments {one.truth.tolist()}", str(other.truth.tolist()))
