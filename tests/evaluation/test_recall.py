"""Recall, mean IoU and average precision against plain Python."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.evaluation.inference import Predictions
from mmn.evaluation.moment_metrics import ranked_ious
from mmn.evaluation.recall import average_precision, count_hits, format_table, recall_metrics

THRESHOLDS = (0.3, 0.5, 0.7)


def naive_iou(a, b):
    overlap = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return overlap / hull if hull else 0.0


def naive_recall(ranked, truth, rank, threshold):
    """Share of sentences where one of the first `rank` kept moments has IoU >= threshold."""
    hits = [
        any(naive_iou(moment, target) >= threshold for moment in moments[:rank])
        for moments, target in zip(ranked, truth, strict=True)
    ]
    return sum(hits) / len(hits)


def as_predictions(ranked, size):
    """Lists of moments, some shorter than `size`, in the padded form that inference gives."""
    moments, scores = torch.zeros(len(ranked), size, 2), torch.zeros(len(ranked), size)
    for row, kept in enumerate(ranked):
        for column, moment in enumerate(kept[:size]):
            moments[row, column], scores[row, column] = torch.tensor(moment, dtype=torch.float32), 1 - 0.05 * column
    return Predictions(torch.arange(len(ranked)), moments, scores)


def metrics_of(ranked, truth, size=10):
    ious = ranked_ious(as_predictions(ranked, size), torch.tensor(truth, dtype=torch.float32)[:, None])
    return recall_metrics(count_hits(ious, THRESHOLDS), len(truth), THRESHOLDS)


MOMENT = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)


@given(st.lists(st.tuples(MOMENT, st.lists(MOMENT, max_size=8)), min_size=1, max_size=12))
def test_recall_is_the_naive_one(sentences):
    truth, ranked = [sentence[0] for sentence in sentences], [sentence[1] for sentence in sentences]
    metrics = metrics_of(ranked, truth)
    for rank in (1, 5):
        # Thresholds of float32, which IoU values of exactly 0.3 or 0.7 are compared with.
        recalls = [naive_recall(ranked, truth, rank, threshold - 1e-9) for threshold in THRESHOLDS]
        assert [metrics[f"R@{rank},IoU@{threshold}"] for threshold in THRESHOLDS] == pytest.approx(recalls)
        assert metrics[f"Best_R{rank}"] == pytest.approx(sum(recalls) / 3)


def test_iou_equal_to_the_threshold_is_a_hit():
    assert metrics_of([[(0, 5)]], [(0, 10)])["R@1,IoU@0.5"] == 1


def test_fewer_candidates_than_ranks_are_legal():
    metrics = metrics_of([[(0, 10)], []], [(0, 10), (0, 10)])
    assert metrics["R@5,IoU@0.7"] == metrics["R@1,IoU@0.7"] == 0.5


def test_padding_is_no_hit_even_where_the_truth_begins_at_zero():
    predictions = Predictions(torch.arange(1), torch.tensor([[[0.0, 10.0]]]), torch.zeros(1, 1))
    assert not ranked_ious(predictions, torch.tensor([[[0.0, 10.0]]])).any()


def test_sixth_moment_does_not_count():
    ranked = [[(20, 30)] * 5 + [(0, 10)]]
    assert metrics_of(ranked, [(0, 10)])["R@5,IoU@0.3"] == 0


def test_names_are_those_of_the_released_table():
    assert list(metrics_of([[(0, 1)]], [(0, 1)])) == [
        *(f"R@{rank},IoU@{threshold}" for rank in (1, 5) for threshold in THRESHOLDS),
        "Best_R1",
        "Best_R5",
    ]


def test_table_has_percentages_with_two_digits():
    table = format_table({"R@1,IoU@0.5": 0.26171, "Best_R1": 1.0}, "tacos")
    assert "R@1,IoU@0.5" in table
    assert "26.17" in table
    assert "100.00" in table
    assert "tacos" in table


# ---- Average precision -----------------------------------------------------------------------------------------------


def naive_average_precision(ious, threshold):
    """The area under the interpolated precision-recall curve, recall level by recall level."""
    free, points, hits = set(range(ious.shape[1])), [], 0
    for rank, row in enumerate(ious, start=1):
        best = max(free, key=lambda truth: row[truth], default=None)
        if best is not None and row[best] >= threshold:
            free.remove(best)
            hits += 1
        points.append((hits, hits / rank))
    num_truths = ious.shape[1]
    levels = [[precision for found, precision in points if found >= level] for level in range(1, num_truths + 1)]
    return sum(max(level, default=0.0) for level in levels) / num_truths


@given(st.integers(0, 10), st.integers(1, 3), st.integers(0, 10_000), st.sampled_from([0.3, 0.5, 0.8]))
def test_average_precision_is_the_naive_one(num_ranked, num_truths, seed, threshold):
    ious = np.random.default_rng(seed).random((num_ranked, num_truths))
    thresholds = [threshold, 0.6]
    wanted = [naive_average_precision(ious, threshold) for threshold in thresholds]
    assert average_precision(ious, thresholds) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "ious, wanted",
    [
        ([[0.9], [0.1]], 1.0),
        ([[0.1], [0.9]], 0.5),
        ([[0.1], [0.2]], 0.0),
        ([[0.9], [0.95]], 1.0),  # a truth is found once
        ([[0.9, 0.0], [0.0, 0.0], [0.0, 0.9]], (1 + 2 / 3) / 2),
    ],
)
def test_average_precision_by_hand(ious, wanted):
    assert average_precision(np.array(ious), [0.5]) == pytest.approx([wanted])
