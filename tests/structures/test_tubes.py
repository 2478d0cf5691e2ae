"""Tube geometry against walking along the frames."""

import naive_tubes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mmn.apps.benchmark import tubes as benchmark
from mmn.apps.benchmark.tubes import plain_cell_rows, plain_iou_map, plain_piece_ious
from mmn.structures.proposals import ProposalCells
from mmn.structures.tubes import (
    Tubes,
    box_iou,
    cell_rows,
    concatenate,
    piece_ious,
    row_numbers,
    tube_iou_maps,
)


@st.composite
def tubes(draw, count=None, longest=30):
    """`count` tubes (1 to 4 where it is None) with boxes on a coarse grid, so that they touch, nest and coincide."""
    count = draw(st.integers(1, 4)) if count is None else count
    lengths = draw(st.lists(st.integers(1, longest), min_size=count, max_size=count))
    first = draw(st.lists(st.integers(0, 25), min_size=count, max_size=count))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corners = rng.integers(0, 6, (sum(lengths), 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 4, corners.shape)], axis=1).astype(np.float32)
    if draw(st.booleans()):
        boxes = boxes * np.float32(7.3) - np.float32(20)
    return Tubes(torch.tensor(first), torch.tensor(lengths), torch.from_numpy(boxes))


def of_every(truth, count):
    return truth.select(torch.zeros(count, dtype=torch.int64))


# ---- Whole maps ------------------------------------------------------------------------------------------------------


@given(tubes(), tubes(count=1), st.integers(1, 9))
def test_iou_maps_are_those_of_walking_along_the_frames(candidates, truth, num_clips):
    cells = ProposalCells(num_clips, [num_clips - 1])  # all cells i <= j
    measured = cells.to_map(tube_iou_maps(cells, candidates, of_every(truth, len(candidates.lengths))))
    for number, content in enumerate(measured):
        naive = plain_iou_map(naive_tubes.frames_of(candidates, number), naive_tubes.frames_of(truth, 0), num_clips)
        assert_close(content, naive.float(), rtol=0, atol=1e-6)


@given(tubes(count=3), tubes(count=3))
def test_each_tube_meets_its_own_truth(candidates, truths):
    start, stop = torch.zeros(3, 1, dtype=torch.int64), candidates.lengths[:, None]
    spatial, temporal = piece_ious(candidates, truths, start, stop)
    for number in range(3):
        pair = (naive_tubes.frames_of(tubes, number) for tubes in (candidates, truths))
        assert (spatial[number].item(), temporal[number].item()) == pytest.approx(plain_piece_ious(*pair), abs=1e-6)


@given(tubes(count=1))
def test_tube_is_its_own_truth(tube):
    spatial, temporal = piece_ious(tube, tube, torch.tensor([[0]]), tube.lengths[:, None])
    assert_close((spatial, temporal), (torch.ones(1, 1), torch.ones(1, 1)))


@given(tubes(count=1), tubes(count=1), st.integers(-100, 100))
def test_iou_does_not_depend_on_where_frames_are_counted_from(tube, truth, shift):
    moved = [Tubes(part.first_frames + shift, part.lengths, part.boxes) for part in (tube, truth)]
    cells = ProposalCells(4, [3])
    assert torch.equal(tube_iou_maps(cells, tube, truth), tube_iou_maps(cells, *moved))


def test_empty_piece_and_frames_apart_have_no_iou():
    tube = Tubes(torch.tensor([0]), torch.tensor([2]), torch.zeros(2, 4))
    later = Tubes(torch.tensor([2]), torch.tensor([2]), torch.zeros(2, 4))
    for truth, stop in ((tube, 0), (later, 2)):
        spatial, temporal = piece_ious(tube, truth, torch.tensor([[0]]), torch.tensor([[stop]]))
        assert (spatial.item(), temporal.item()) == (0, 0)


# ---- Parts -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(1, 16))
def test_cells_of_equal_clips_take_every_row_once(length, num_clips):
    start, stop = cell_rows(ProposalCells(num_clips, [0]), torch.tensor([length]))
    rows = [row for first, last in zip(start[0].tolist(), stop[0].tolist(), strict=True) for row in range(first, last)]
    assert rows == list(range(length))


@given(st.integers(1, 400), st.integers(1, 16))
def test_rows_of_cells_are_rounded_half_to_even(length, num_clips):
    cells = ProposalCells(num_clips, [num_clips - 1])
    start, stop = cell_rows(cells, torch.tensor([length]))
    for place, i, j in zip(range(len(cells)), cells.rows.tolist(), cells.cols.tolist(), strict=True):
        rows = plain_cell_rows(i, j, num_clips, length)
        assert (start[0, place].item(), stop[0, place].item()) == (rows.start, rows.stop)


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),  # a single pixel
        ([0, 0, 1, 1], [1, 1, 2, 2], 1 / 7),  # one pixel of both
        ([0, 0, 9, 9], [2, 2, 3, 3], 0.04),  # inside
        ([0, 0, 1, 1], [2, 0, 3, 1], 0.0),  # side by side
    ],
)
def test_box_iou_counts_pixels(a, b, iou):
    assert box_iou(torch.tensor(a).float(), torch.tensor(b).float()).item() == pytest.approx(iou)


@given(tubes(count=3))
def test_selected_tubes_keep_their_boxes(candidates):
    chosen = candidates.select(torch.tensor([2, 0, 2]))
    wanted = [naive_tubes.frames_of(candidates, number) for number in (2, 0, 2)]
    assert [naive_tubes.frames_of(chosen, number) for number in range(3)] == wanted


@given(tubes(count=2), tubes(count=1))
def test_concatenated_tubes_keep_their_boxes(first, second):
    joined = concatenate([first, second])
    wanted = [naive_tubes.frames_of(first, 0), naive_tubes.frames_of(first, 1), naive_tubes.frames_of(second, 0)]
    assert [naive_tubes.frames_of(joined, number) for number in range(3)] == wanted


@given(tubes(count=2), st.data())
def test_piece_holds_its_rows(candidates, data):
    length = int(candidates.lengths[1])
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    whole = list(naive_tubes.frames_of(candidates, 1).items())
    assert list(naive_tubes.frames_of(candidates.piece(1, start, stop), 0).items()) == whole[start:stop]


def test_row_numbers_of_no_tube():
    assert row_numbers(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_benchmark_compares_both_forms_on_the_same_tubes(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tubes", "--tubes", "3", "--frames", "20", "--plain", "2"])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 tubes of 20 frames, 16 x 16 maps, one core"
    assert "from 2 of them" in lines[2]
    assert float(lines[3].split()[-1]) <= 1e-6


def test_tubes_of_the_benchmark_meet_their_truths():
    generator = torch.Generator().manual_seed(0)
    candidates, truths = (benchmark.random_tubes(4, 30, generator) for _ in range(2))
    start, stop = torch.zeros(4, 1, dtype=torch.int64), candidates.lengths[:, None]
    assert (piece_ious(candidates, truths, start, stop)[0] > 0).any()
