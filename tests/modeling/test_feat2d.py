"""The proposal map's features, cell by cell."""

import pytest
import torch
from torch.testing import assert_close

from mmn.modeling.feat2d import FEAT2D, ConvFeat2d, PoolFeat2d
from mmn.modeling.featpool import FeatAvgPool
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import ConfigError

CELLS = [ProposalCells(16, [15]), ProposalCells(16, [7, 4]), ProposalCells(32, [5, 4, 4])]


def pairs(cells):
    return list(zip(cells.rows.tolist(), cells.cols.tolist(), strict=True))


def naive_conv_map(module, clips):
    """(i, j) -> [B, H], by the running sequence of SPEC section 2 with each convolution written out."""
    num_clips = clips.shape[-1]
    values = {(clip, clip): clips[:, :, clip] for clip in range(num_clips)}
    sequence = list(clips.unbind(-1))
    for conv, step in zip(module.convs, module.steps, strict=True):
        stride, size = step.reduction_stride, step.kernel_size
        sequence = [
            sum(sequence[start + k] @ conv.weight[:, :, k].T for k in range(size)) + conv.bias
            for start in range(0, len(sequence) - size + 1, stride)
        ]
        for index, value in enumerate(sequence):
            values[index * step.stride, index * step.stride + step.offset] = value
    return values


@pytest.mark.parametrize("cells", CELLS)
def test_pool_is_the_maximum_over_the_clips_of_a_moment(cells):
    clips = torch.randn(2, 3, cells.num_clips)
    wanted = torch.stack([clips[:, :, row : column + 1].amax(-1) for row, column in pairs(cells)], dim=-1)
    assert torch.equal(PoolFeat2d(cells, 3)(clips), wanted)


@pytest.mark.parametrize("cells", CELLS)
def test_conv_is_the_naive_running_sequence(cells):
    module, clips = ConvFeat2d(cells, 3), torch.randn(2, 3, cells.num_clips)
    values = naive_conv_map(module, clips)
    assert_close(module(clips), torch.stack([values[pair] for pair in pairs(cells)], dim=-1), rtol=1e-5, atol=1e-6)


def test_conv_sees_exactly_the_clips_of_a_moment():
    cells = CELLS[2]
    module, clips = ConvFeat2d(cells, 3), torch.randn(1, 3, cells.num_clips, requires_grad=True)
    features = module(clips)
    for index, (row, column) in enumerate(pairs(cells)):
        gradient = torch.autograd.grad(features[:, :, index].sum(), clips, retain_graph=True)[0]
        assert gradient.abs().sum((0, 1)).nonzero().flatten().tolist() == list(range(row, column + 1))


def test_conv_has_one_convolution_per_step():
    names = ConvFeat2d(CELLS[1], 3).state_dict().keys()
    assert set(names) == {f"convs.{index}.{kind}" for index in range(11) for kind in ("weight", "bias")}


def test_pool_has_no_state():
    assert not PoolFeat2d(CELLS[1], 3).state_dict()


def test_unknown_name_is_an_error_that_lists_the_choices():
    with pytest.raises(ConfigError, match="MODEL.MMN.FEAT2D.NAME is 'mean'.*conv.*pool"):
        FEAT2D["mean"]


@pytest.mark.parametrize("kernel_size, stride", [(2, 2), (4, 4), (1, 2)])
def test_featpool_averages_rectified_clips(kernel_size, stride):
    module, feats = FeatAvgPool(5, 3, kernel_size, stride), torch.randn(2, 8, 5)
    rows = (feats @ module.conv.weight[:, :, 0].T + module.conv.bias).clamp(min=0)  # [B, P, H]
    wanted = torch.stack([rows[:, start : start + kernel_size].mean(1) for start in range(0, 8, stride)], dim=-1)
    assert_close(module(feats), wanted)
