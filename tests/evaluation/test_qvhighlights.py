"""QVHighlights' metrics: the recorded values, and both precisions against loops written from SPEC section 12."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_annotations import ROOT

from mmn.evaluation.qvhighlights import (
    THRESHOLDS,
    HighlightPrediction,
    HighlightTruth,
    clip_average_precision,
    qvhighlights_metrics,
    window_average_precision,
)
from mmn.evaluation.qvhighlights_file import score_qvhighlights_file
from mmn.utils.errors import DataError

PREDICTIONS = "sample_val_preds.jsonl"
RECORDED = ROOT.parent / "shared" / "qvhighlights"
SECONDS = st.integers(0, 75).map(lambda clip: 2.0 * clip)
WINDOW = st.tuples(SECONDS, SECONDS).filter(lambda window: window[0] < window[1])
SCORE = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])


@pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recorded predictions of QVHighlights are not beside the checkout"
)
def test_recorded_predictions_have_the_recorded_metrics(tmp_path, capsys):
    out = tmp_path / "metrics.json"
    score_qvhighlights_file(*(str(RECORDED / name) for name in (PREDICTIONS, "highlight_val_release.jsonl")), str(out))
    recorded = json.loads((RECORDED / "sample_val_preds_metrics_raw.json").read_text())
    assert json.loads(out.read_text()) == recorded
    assert "53.94" in capsys.readouterr().out


def naive_window_precision(truth, windows, threshold):
    free, hits = list(range(len(truth))), []
    for start, end, _ in sorted(windows[:10], key=lambda window: -window[2]):
        ious = {}
        for number in free:
            overlap = max(0.0, min(end, truth[number][1]) - max(start, truth[number][0]))
            ious[number] = overlap / (end - start + truth[number][1] - truth[number][0] - overlap)
        best = max(ious.values(), default=-1)
        hits.append(best >= threshold)
        if hits[-1]:
            free.remove(max(number for number, value in ious.items() if value == best))
    points = [(sum(hits[:rank]) / len(truth), sum(hits[:rank]) / rank) for rank in range(1, len(hits) + 1)]
    area, before = 0.0, 0.0
    for recall, _ in points:
        if recall > before:
            area += (recall - before) * max(precision for other, precision in points if other >= recall)
            before = recall
    return area


@given(st.lists(WINDOW, min_size=1, max_size=4), st.lists(st.tuples(WINDOW, SCORE), max_size=13))
def test_window_average_precision_is_the_area_under_the_interpolated_curve(truth, predicted):
    windows = [(*window, score) for window, score in predicted]
    other = np.array([[0.0, 2.0]]), np.array([[0.0, 2.0, 0.5]])
    found = window_average_precision([(np.array(truth), np.array(windows, float).reshape(-1, 3)), other])
    expected = [naive_window_precision(truth, windows, threshold) for threshold in THRESHOLDS]
    np.testing.assert_allclose(found, [expected, [1.0] * len(THRESHOLDS)], atol=1e-12)


def naive_clip_precision(positive, values):
    if all(positive) or not any(positive):
        return float(any(positive))
    points = []
    for threshold in sorted(set(values)):
        taken = [is_positive for is_positive, value in zip(positive, values, strict=True) if value >= threshold]
        points.append((sum(taken) / sum(positive), sum(taken) / len(taken)))
    curve = [*(recall for recall, _ in points), 0.0]
    best = [max(precision for _, precision in points[: place + 1]) for place in range(len(points))]
    chosen = [best[place] for place in range(len(points)) if np.float32(curve[place]) != np.float32(curve[place + 1])]
    return sum(chosen) / len(chosen)


@given(st.lists(st.tuples(st.booleans(), SCORE), min_size=1, max_size=20))
def test_clip_average_precision_is_the_mean_precision_where_recall_changes(clips):
    positive, values = zip(*clips, strict=True)
    found = clip_average_precision(np.array(positive), np.array(values))
    assert found == pytest.approx(naive_clip_precision(positive, values), abs=1e-12)


def one_query(**prediction):
    truth = HighlightTruth(np.array([[0.0, 4.0]]), 4, np.array([0, 1]), np.array([[4, 0, 0], [2, 2, 2]]))
    return qvhighlights_metrics([(truth, HighlightPrediction(**prediction))])


def test_saliency_beyond_the_clips_of_the_truth_is_a_miss_and_what_is_short_counts_as_zero():
    assert one_query(saliency=np.array([0.1, 0.2, 0.3, 0.4, 0.9]))["HL-min-Fair"]["HL-Hit1"] == 0.0
    assert one_query(saliency=np.array([0.5]))["HL-min-VeryGood"] == {"HL-mAP": 33.33, "HL-Hit1": 100.0}


def test_what_no_prediction_has_is_left_out():
    assert sorted(one_query(saliency=np.ones(4))) == ["HL-min-Fair", "HL-min-Good", "HL-min-VeryGood", "brief"]
    assert "HL-min-Fair" not in one_query(windows=np.array([[0.0, 4.0, 1.0]]))
    assert one_query(windows=np.array([[0.0, 4.0, 1.0]]))["brief"]["MR-full-R1@0.7"] == 100.0


def test_recall_goes_by_the_first_window_and_precision_by_the_scores():
    metrics = one_query(windows=np.array([[10.0, 20.0, 0.1], [0.0, 4.0, 0.9]]))["full"]
    assert metrics["MR-R1"]["0.5"] == 0.0
    assert metrics["MR-mAP"]["average"] == 100.0


TRUTH = {
    "qid": 1,
    "vid": "v",
    "query": "q",
    "duration": 10,
    "relevant_windows": [[0, 4]],
    "relevant_clip_ids": [0, 1],
    "saliency_scores": [[4, 4, 4], [3, 2, 1]],
}
FOUND = {"qid": 1, "vid": "v", "query": "q", "pred_relevant_windows": [[0, 4, 1.0]], "pred_saliency_scores": [1, 0.5]}


@pytest.mark.parametrize(
    "found, truth, named",
    [
        ([FOUND, FOUND], [TRUTH], r"queries more than once \(qid 1\)"),
        ([FOUND | {"qid": 2}], [TRUTH], r"1 of the 1 queries of .* are not in .*\(qid 2\)"),
        ([FOUND], [TRUTH, TRUTH | {"qid": 2}], r"lacks 1 of the 2 queries of .*\(qid 2\)"),
        ([{"qid": 1}], [TRUTH], "has neither pred_relevant_windows nor pred_saliency_scores"),
        (
            [FOUND, {"qid": 2, "pred_saliency_scores": [1]}],
            [TRUTH, TRUTH | {"qid": 2}],
            "in 1 of its 2 lines, first in line 2",
        ),
        ([FOUND | {"pred_saliency_scores": [1, None]}], [TRUTH], "line 1 of .*no list of finite numbers"),
        ([FOUND], [TRUTH | {"relevant_clip_ids": [0, 5]}], "line 1 of .*relevant_clip_ids from 0 to 4"),
        ([FOUND], [{"qid": 1, "duration": 10}], "line 1 of .*relevant_windows"),
    ],
)
def test_files_that_cannot_be_scored_are_refused(tmp_path, found, truth, named):
    for name, lines in (("found.jsonl", found), ("truth.jsonl", truth)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match=named):
        score_qvhighlights_file(str(tmp_path / "found.jsonl"), str(tmp_path / "truth.jsonl"))
