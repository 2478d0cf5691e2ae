"""The masked convolution stack, layer by layer and window by window."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from mmn.modeling.map_conv import window_weights
from mmn.modeling.proposal_conv import ProposalConv
from mmn.structures.proposals import ProposalCells

SIZES = [(3, 3), (5, 2), (3, 4), (1, 2)]


def naive_weights(mask, kernel_size, num_layers):
    """w of every layer by counting the valid cells of each window."""
    padding = (kernel_size - 1) * num_layers // 2
    size = len(mask) + 2 * padding
    valid = {(row + padding, column + padding) for row, column in mask.nonzero().tolist()}
    weights = []
    for _ in range(num_layers):
        size -= kernel_size - 1
        weight, offsets = torch.zeros(size, size), range(kernel_size)
        for row in range(size):
            for column in range(size):
                count = sum((row + a, column + b) in valid for a in offsets for b in offsets)
                weight[row, column] = 1 / count if count else 0
        valid = {tuple(cell) for cell in (weight > 0).nonzero().tolist()}
        weights.append(weight)
    return weights


def naive_stack(module, x, kernel_size, num_layers):
    """The stack in training mode, normalisation written out, on a map that is padded once."""
    padding = (kernel_size - 1) * num_layers // 2
    x = F.pad(x, [padding] * 4)
    weights = naive_weights(module.cells.mask, kernel_size, num_layers)
    for conv, norm, weight in zip(module.convs, module.bn, weights, strict=True):
        x = F.conv2d(x, conv.weight, conv.bias)
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)  # over all cells, the zero ones too
        x = (x - mean[:, None, None]) / (variance[:, None, None] + norm.eps).sqrt()
        x = (x * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0) * weight
    return x


def make_module(kernel_size, num_layers):
    module = ProposalConv(ProposalCells(8, [3, 2]), 4, 5, kernel_size, num_layers, 6)
    for norm in module.bn:
        torch.nn.init.uniform_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return module


def project(conv, x):
    return torch.einsum("bhij,ch->bcij", x, conv.weight[:, :, 0, 0]) + conv.bias[:, None, None]


@pytest.mark.parametrize("kernel_size, num_layers", SIZES)
@pytest.mark.parametrize("counts", [[7], [3, 2]])
def test_window_weights_count_valid_cells(kernel_size, num_layers, counts):
    mask = ProposalCells(8, counts).mask
    measured = window_weights(mask, kernel_size, num_layers)
    for ours, wanted in zip(measured, naive_weights(mask, kernel_size, num_layers), strict=True):
        assert torch.equal(ours, wanted)


@pytest.mark.parametrize("kernel_size, num_layers", SIZES)
def test_last_window_weight_has_the_size_of_the_map(kernel_size, num_layers):
    assert window_weights(ProposalCells(8, [3, 2]).mask, kernel_size, num_layers)[-1].shape == (8, 8)


@pytest.mark.parametrize("kernel_size, num_layers", SIZES)
def test_maps_are_those_of_the_naive_stack(kernel_size, num_layers):
    module = make_module(kernel_size, num_layers)
    x = module.cells.to_map(torch.randn(2, 4, len(module.cells)))
    hidden = naive_stack(module, x, kernel_size, num_layers)
    contrastive, iou = module.dense_maps(x)
    assert_close(contrastive, project(module.conv1x1_contrastive, hidden), rtol=1e-4, atol=1e-5)
    assert_close(iou, project(module.conv1x1_iou, hidden), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_packed_features_are_the_valid_cells_of_the_maps(training):
    module = make_module(3, 3).train(training)
    packed = torch.randn(2, 4, len(module.cells))
    for features, dense in zip(module(packed), module.dense_maps(module.cells.to_map(packed)), strict=True):
        assert_close(features.mT, module.cells.from_map(dense), rtol=1e-5, atol=1e-6)


def test_running_statistics_are_over_all_cells_of_the_padded_map():
    module = make_module(3, 2)
    x = module.cells.to_map(torch.randn(2, 4, len(module.cells)))
    module.dense_maps(x)
    first = F.conv2d(F.pad(x, [2] * 4), module.convs[0].weight, module.convs[0].bias)
    assert_close(module.bn[0].running_mean, 0.1 * first.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    assert_close(module.bn[0].running_var, 0.9 + 0.1 * first.var((0, 2, 3)), rtol=1e-5, atol=1e-6)


def test_window_weights_are_not_in_the_state_dict():
    assert not [name for name in make_module(3, 2).state_dict() if "window" in name]


def test_every_convolution_has_a_bias():
    names = make_module(3, 2).state_dict()
    assert {name for name in names if name.endswith("bias")} == {
        *(f"{kind}.{layer}.bias" for kind in ("convs", "bn") for layer in (0, 1)),
        "conv1x1_contrastive.bias",
        "conv1x1_iou.bias",
    }


@pytest.mark.parametrize("option", ["checkpoint_activations", "channels_last"])
def test_options_of_the_dense_form_change_no_number(option):
    cells, sizes = ProposalCells(8, [7]), (3, 4, 3, 2, 5)
    plain = ProposalConv(cells, *sizes, impl="dense").double()
    other = ProposalConv(cells, *sizes, impl="dense", **{option: True}).double()
    other.load_state_dict(plain.state_dict())
    for step in range(3):
        packed = torch.randn(2, 3, len(cells), dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        for conv in (plain, other):
            conv.zero_grad()
            sum(output.square().sum() for output in conv(packed)).backward()
        for (name, expected), measured in zip(plain.named_parameters(), other.parameters(), strict=True):
            assert_close(measured.grad, expected.grad, msg=lambda text, name=name: f"{name}: {text}")
    for (name, expected), measured in zip(plain.named_buffers(), other.buffers(), strict=True):
        assert_close(measured, expected, msg=lambda text, name=name: f"{name}: {text}")


def test_maps_stay_in_half_precision_under_autocast():
    cells = ProposalCells(8, [3, 2])
    module, x = ProposalConv(cells, 4, 6, 3, 2, 5), cells.to_map(torch.randn(2, 4, len(cells)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module.dense_features(x).dtype == torch.bfloat16
