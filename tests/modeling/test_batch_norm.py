"""Where batch norm takes its statistics from, in both forms of the convolutions. Several processes: test_processes.py."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from mmn.modeling.batch_norm import BATCH_NORMS
from mmn.modeling.proposal_conv import ProposalConv
from mmn.structures.proposals import ProposalCells

IMPLS = pytest.mark.parametrize("impl", ["dense", "fast"])


def make_module(batch_norm, impl):
    module = ProposalConv(ProposalCells(8, [3, 2]), 4, 5, 3, 2, 6, impl, batch_norm=batch_norm).double()
    with torch.no_grad():
        for norm in module.bn:
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            norm.bias.normal_()
    return module


def packed_input(module, batch=3):
    return torch.randn(batch, 4, len(module.cells), dtype=torch.float64)


def naive(module, packed, statistics):
    """Both heads' outputs; statistics(layer, map) -> mean and biased variance of that layer."""
    x = module.cells.to_map(packed)
    for layer, (conv, norm) in enumerate(zip(module.convs, module.bn, strict=True)):
        x = F.conv2d(x, conv.weight, conv.bias, padding=conv.padding)
        mean, variance = statistics(layer, x)
        x = (x - mean[:, None, None]) / (variance[:, None, None] + norm.eps).sqrt()
        x = (x * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)
        x = x * getattr(module, f"window_weight_{layer}")
    heads = (module.conv1x1_contrastive, module.conv1x1_iou)
    return [torch.einsum("bhm,ch->bmc", module.cells.from_map(x), h.weight[..., 0, 0]) + h.bias for h in heads]


def of_the_batch(layer, x):
    return x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)


def assert_both_close(measured, wanted):
    for ours, naive_output in zip(measured, wanted, strict=True):
        assert_close(ours, naive_output, rtol=1e-6, atol=1e-8)


@IMPLS
@pytest.mark.parametrize("training", [True, False])
def test_frozen_normalises_by_the_running_statistics_and_leaves_them(impl, training):
    module = make_module("frozen", impl).train(training)
    before = {name: value.clone() for name, value in module.named_buffers()}
    packed = packed_input(module)
    wanted = naive(module, packed, lambda layer, x: (module.bn[layer].running_mean, module.bn[layer].running_var))
    assert_both_close(module(packed), wanted)
    assert all(torch.equal(value, before[name]) for name, value in module.named_buffers())


@IMPLS
def test_scale_and_shift_of_frozen_statistics_train(impl):
    module = make_module("frozen", impl).train()
    sum(output.square().sum() for output in module(packed_input(module))).backward()
    assert all(norm.weight.grad.any() and norm.bias.grad.any() for norm in module.bn)


@IMPLS
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalises_by_the_batch_at_hand_in_evaluation_too(impl, training):
    module = make_module("batch", impl).train(training)
    before = {name: value.clone() for name, value in module.named_buffers()}
    packed = packed_input(module)
    assert_both_close(module(packed), naive(module, packed, of_the_batch))
    assert all(torch.equal(value, before[name]) for name, value in module.named_buffers())


@IMPLS
def test_released_statistics_are_the_batch_in_training_and_the_running_ones_in_evaluation(impl):
    module = make_module("process", impl)
    packed = packed_input(module)
    assert_both_close(module.train()(packed), naive(module, packed, of_the_batch))
    running = [(norm.running_mean, norm.running_var) for norm in module.bn]
    assert_both_close(module.eval()(packed), naive(module, packed, lambda layer, x: running[layer]))


@pytest.mark.parametrize("kind", BATCH_NORMS)
def test_every_kind_has_the_state_dict_of_the_released_one(kind):
    released = make_module("process", "dense").state_dict()
    module = make_module(kind, "dense")
    module.load_state_dict(released)
    assert list(module.state_dict()) == list(released)
    assert all(torch.equal(value, released[name]) for name, value in module.state_dict().items())
