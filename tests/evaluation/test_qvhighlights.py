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

RECORDED = ROOT.parent / "shared" / "qvhighlights"
SECONDS = st.integers(0, 75).map(lambda clip: 2.0 * clip)
WINDOW = st.tuples(SECONDS, SECONDS).filter(lambda window: window[0] < window[1])
SCORE = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])


def read_lines(name):
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


@pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recorded predictions of QVHighlights are not beside the checkout"
)
def test_recorded_predictions_have_the_recorded_metrics():
    truths = {line["qid"]: line for line in read_lines("highlight_val_release.jsonl")}
    pairs = []
    for line in read_lines("sample_val_preds.jsonl"):
        truth = truths.pop(line["qid"])
        pairs.append(
            (
                HighlightTruth(
                    np.array(truth["relevant_windows"], float),
                    int(truth["duration"] / 2),
                    np.array(truth["relevant_clip_ids"]),
                    np.array(truth["saliency_scores"]),
                ),
                HighlightPrediction(
                    np.array(line["pred_relevant_windows"], float), np.array(line["pred_saliency_scores"], float)
                ),
            )
        )
    assert not truths
    assert qvhighlights_metrics(pairs) == json.loads((RECORDED / "sample_val_preds_metrics_raw.json").read_text())


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
