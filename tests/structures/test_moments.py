"""Moment geometry and non-maximum suppression, against plain Python."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.structures.moments import cell_ious, cell_moments, first_argmax, nms, nms_indices, temporal_iou
from mmn.structures.proposals import ProposalCells

MOMENT = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted)


def naive_iou(a, b):
    overlap = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return overlap / hull if hull else 0.0


def naive_nms(moments, scores, threshold):
    """Indices of the kept candidates, best first."""
    kept = []
    for index in sorted(range(len(scores)), key=lambda index: -scores[index]):
        if scores[index] > 0 and all(naive_iou(moments[index], moments[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


def iou_of(a, b):
    return temporal_iou(torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)).item()


@pytest.mark.parametrize(
    "a, b, wanted",
    [
        ((0, 4), (2, 6), 1 / 3),
        ((0, 4), (0, 4), 1),
        ((0, 4), (4, 8), 0),  # touching
        ((0, 4), (6, 8), 0),  # apart
        ((0, 8), (2, 4), 0.25),  # nested
        ((0, 4), (2, 2), 0),  # an empty one inside
        ((3, 3), (3, 3), 0),  # two empty ones
    ],
)
def test_iou(a, b, wanted):
    assert iou_of(a, b) == pytest.approx(wanted)


@given(MOMENT, MOMENT)
def test_iou_is_the_naive_one(a, b):
    assert iou_of(a, b) == pytest.approx(naive_iou(a, b))


@given(MOMENT, MOMENT)
def test_iou_is_symmetric_and_within_0_and_1(a, b):
    assert iou_of(a, b) == iou_of(b, a)
    assert 0 <= iou_of(a, b) <= 1


def test_iou_broadcasts_over_leading_dimensions():
    a, b = torch.rand(2, 5, 1, 2).sort(dim=-1).values[0], torch.rand(3, 2).sort(dim=-1).values
    wanted = [[naive_iou(x[0].tolist(), y.tolist()) for y in b] for x in a]
    assert temporal_iou(a, b).numpy() == pytest.approx(np.array(wanted), abs=1e-6)


def test_cell_moments_are_index_times_duration_over_n():
    cells, durations = ProposalCells(8, [3, 2]), [10.3, 47.77]
    wanted = [
        [
            (np.float32(row) * np.float32(duration) / np.float32(8), np.float32(column + 1) * np.float32(duration) / 8)
            for row, column in zip(cells.rows.tolist(), cells.cols.tolist(), strict=True)
        ]
        for duration in durations
    ]
    assert np.array_equal(cell_moments(cells, torch.tensor(durations)).numpy(), np.array(wanted, dtype=np.float32))


def test_cell_ious_are_with_cells_of_the_own_duration():
    cells, durations = ProposalCells(8, [3, 2]), torch.tensor([10.3, 47.77])
    moments = torch.tensor([[1.2, 7.5], [0.0, 47.77]])
    measured = cell_ious(cells, moments, durations)
    for moment, bounds, row in zip(moments.tolist(), cell_moments(cells, durations).tolist(), measured, strict=True):
        assert row.tolist() == pytest.approx([naive_iou(moment, cell) for cell in bounds], abs=1e-6)


@st.composite
def candidate_sets(draw):
    """Moments with integer bounds, so that IoU values lie exactly on the threshold too, and distinct scores."""
    moments = draw(st.lists(MOMENT, min_size=1, max_size=15))
    scores = draw(st.lists(st.integers(0, 1000), min_size=len(moments), max_size=len(moments), unique=True))
    return moments, [score / 1000 for score in scores]


@given(candidate_sets(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(1, 16))
def test_nms_is_the_naive_one(candidates, threshold, num_kept):
    moments, scores = candidates
    kept_moments, kept_scores = nms(
        torch.tensor([moments], dtype=torch.float32), torch.tensor([scores]), threshold, num_kept
    )
    wanted = naive_nms(moments, scores, threshold)[:num_kept]
    padding = num_kept - len(wanted)
    assert kept_moments[0].tolist() == [list(moments[index]) for index in wanted] + [[0, 0]] * padding
    assert kept_scores[0].tolist() == pytest.approx([scores[index] for index in wanted] + [0] * padding)


@given(candidate_sets(), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 16))
def test_nms_says_which_candidates_it_keeps(candidates, threshold, num_kept):
    moments, scores = candidates
    tensors = torch.tensor([moments], dtype=torch.float32), torch.tensor([scores])
    places, kept_scores = nms_indices(*tensors, threshold, num_kept)
    wanted = naive_nms(moments, scores, threshold)[:num_kept]
    assert places[0, : len(wanted)].tolist() == wanted
    assert not kept_scores[0, len(wanted) :].any()


def test_nms_treats_sets_independently():
    moments, scores = torch.rand(6, 30, 2).sort(dim=-1).values, torch.rand(6, 30)
    together = nms(moments, scores, 0.5, 8)
    for index in range(6):
        alone = nms(moments[index : index + 1], scores[index : index + 1], 0.5, 8)
        assert torch.equal(together[0][index], alone[0][0])
        assert torch.equal(together[1][index], alone[1][0])


def test_nms_without_positive_scores_keeps_nothing():
    moments, scores = nms(torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), torch.tensor([[0.0, -1.0]]), 0.5, 3)
    assert not moments.any()
    assert not scores.any()


def test_nms_without_candidates_keeps_nothing():
    moments, scores = nms(torch.zeros(2, 0, 2), torch.zeros(2, 0), 0.5, 3)
    assert moments.shape == (2, 3, 2)
    assert not scores.any()


def test_nms_leaves_its_arguments_alone():
    moments, scores = torch.rand(2, 5, 2).sort(dim=-1).values, torch.rand(2, 5)
    copies = moments.clone(), scores.clone()
    nms(moments, scores, 0.5, 5)
    assert torch.equal(moments, copies[0])
    assert torch.equal(scores, copies[1])


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**31))
def test_first_argmax_is_the_first_place_of_the_maximum(num_rows, num_columns, seed):
    values = torch.randint(0, 4, (num_rows, num_columns), generator=torch.Generator().manual_seed(seed)).float()
    expected = [[row.index(max(row))] for row in values.tolist()]
    assert first_argmax(values).tolist() == expected
