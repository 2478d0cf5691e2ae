"""Scoring prediction files."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_prediction_file import line
from tiny import run_python

from mmn.evaluation.prediction_file import QueryPrediction, read_predictions
from mmn.evaluation.score_file import format_examples, score_predictions, score_queries
from mmn.structures.moments import temporal_iou

THRESHOLDS = (0.3, 0.5, 0.7)


def read(folder, *lines):
    """The records of lines, which get a qid each."""
    path = folder / "predictions.jsonl"
    records = [json.loads(text) | {"qid": qid} for qid, text in enumerate(lines)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return read_predictions(str(path))


def score(folder, *lines):
    return score_predictions(read(folder, *lines), THRESHOLDS)


def test_scores_of_a_file_by_hand(tmp_path):
    metrics = score(tmp_path, line([[0, 10, 0.9]]), line([[5, 10, 0.9], [0, 9, 0.5]]), line([]))
    assert metrics["R@1,IoU@0.3"] == metrics["R@1,IoU@0.5"] == pytest.approx(2 / 3)
    assert metrics["R@1,IoU@0.7"] == pytest.approx(1 / 3)
    assert metrics["R@5,IoU@0.7"] == pytest.approx(2 / 3)
    assert metrics["mIoU"] == pytest.approx((1 + 0.5 + 0) / 3)
    # Query 2: at 0.5 the first is the hit (1), from 0.55 to 0.9 the second (1/2), at 0.95 none.
    assert metrics["mAP"] == pytest.approx((1 + (1 + 8 * 0.5) / 10 + 0) / 3)


def test_metrics_are_means_of_the_scores_of_queries(tmp_path):
    lines = [line([[0, 9, 0.9], [3, 8, 0.8]]), line([], truth=[(0, 4), (9, 12)]), line([[1, 7, 0.3], [0, 10, 0.2]])]
    records = read(tmp_path, *lines)
    means = {name: values.mean() for name, values in score_queries(records, THRESHOLDS).items()}
    assert means == pytest.approx(score_predictions(records, THRESHOLDS))


def test_predictions_count_in_the_order_of_their_scores(tmp_path):
    metrics = score(tmp_path, line([[20, 30, 0.1], [0, 10, 0.9]]))
    assert metrics["mIoU"] == 1


def test_best_of_several_true_moments_counts(tmp_path):
    assert score(tmp_path, line([[0, 10, 0.9]], truth=[(20, 30), (0, 10)]))["mIoU"] == 1


def test_examples_show_truth_and_predictions(tmp_path):
    text = format_examples(read(tmp_path, line([[0, 5, 0.9]]), line([])), 3)
    assert "a man runs" in text
    assert "truth 0.0-10.0 s" in text
    assert "IoU 0.50" in text


MOMENTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted), min_size=1, max_size=5)


@given(MOMENTS, MOMENTS)
def test_ious_are_those_of_the_map_to_the_bit(moments, truth):
    moments, truth = (np.array(part, dtype=np.float32) / 7 for part in (moments, truth))
    ious = QueryPrediction("a", "v", truth, moments, [1.0] * len(moments)).ious()
    wanted = temporal_iou(torch.from_numpy(moments)[:, None], torch.from_numpy(truth))
    assert (ious.dtype, ious.tolist()) == (np.float32, wanted.tolist())


def test_scoring_a_file_loads_no_network():
    heavy = "{'torch', 'transformers', 'h5py'} & set(sys.modules)"
    done = run_python("-c", f"import sys, mmn.evaluation.score_file; sys.exit(str({heavy}) if {heavy} else 0)")
    assert done.returncode == 0, done.stderr
