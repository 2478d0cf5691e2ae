"""Valid cells of the proposal map, against a dense map filled cell by cell as SPEC section 2 describes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.structures.pooling import pooling_steps
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import ConfigError

RELEASED = [(16, [15], 136), (64, [15, 8, 8], 1104), (128, [15, 8, 8, 8], 2548)]


def naive_mask(num_clips, pooling_counts):
    mask = [[row == column for column in range(num_clips)] for row in range(num_clips)]
    offset = 0
    for group, count in enumerate(pooling_counts):
        for _ in range(count):
            offset += 2**group
            for start in range(0, num_clips, 2**group):
                if start + offset < num_clips:
                    mask[start][start + offset] = True
    return torch.tensor(mask)


@st.composite
def maps(draw):
    """(num_clips, pooling_counts) that fit each other."""
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    longest = sum(count * 2**group for group, count in enumerate(counts))
    return draw(st.integers(longest + 1, longest + 12)), counts


@pytest.mark.parametrize("num_clips, counts, num_cells", RELEASED)
def test_number_of_cells_of_released_maps(num_clips, counts, num_cells):
    assert len(ProposalCells(num_clips, counts)) == num_cells


@given(maps())
def test_mask_is_the_naive_one(arguments):
    assert torch.equal(ProposalCells(*arguments).mask, naive_mask(*arguments))


@given(maps())
def test_cells_are_in_row_major_order(arguments):
    cells = ProposalCells(*arguments)
    assert torch.equal(torch.stack([cells.rows, cells.cols], dim=1), naive_mask(*arguments).nonzero())


@given(maps())
def test_packed_order_sorts_diagonal_and_steps(arguments):
    num_clips, _ = arguments
    cells = ProposalCells(*arguments)
    computed = [(clip, clip) for clip in range(num_clips)]
    for step in cells.steps:
        computed += [(start, start + step.offset) for start in range(0, num_clips - step.offset, step.stride)]
    order = cells.packed_order.tolist()
    assert [computed[index] for index in order] == list(zip(cells.rows.tolist(), cells.cols.tolist(), strict=True))


def test_only_the_first_step_of_a_later_group_halves():
    kernels = [(step.kernel_size, step.reduction_stride) for step in pooling_steps(32, [3, 2, 2])]
    assert kernels == [(2, 1), (2, 1), (2, 1), (3, 2), (2, 1), (3, 2), (2, 1)]


def test_map_holds_values_at_valid_cells_and_zero_elsewhere():
    cells = ProposalCells(8, [3, 2])
    packed = torch.rand(2, 3, len(cells)) + 1
    dense = cells.to_map(packed)
    for index, (row, column) in enumerate(zip(cells.rows, cells.cols, strict=True)):
        assert torch.equal(dense[..., row, column], packed[..., index])
    assert not dense[..., ~cells.mask].any()


def test_packing_undoes_unpacking():
    cells = ProposalCells(8, [3, 2])
    packed = torch.rand(2, 3, len(cells))
    assert torch.equal(cells.from_map(cells.to_map(packed)), packed)


def test_moments_longer_than_the_video_are_refused():
    with pytest.raises(ConfigError, match="POOLING_COUNTS.*NUM_CLIPS is 16"):
        pooling_steps(16, [16])
