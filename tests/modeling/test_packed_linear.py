import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmn.modeling.fast import onednn, packed_linear
from mmn.modeling.fast.packed_linear import PackedLinear, pack_linears

pytestmark = pytest.mark.skipif(not onednn.has_onednn_linear(), reason="this torch has no oneDNN linear")


@pytest.fixture
def layer(monkeypatch):
    """A packed layer of a size that is packed, and how often a weight was packed."""
    monkeypatch.setattr(onednn, "MIN_WEIGHTS", 1)
    calls = []
    pack = onednn.pack
    monkeypatch.setattr(packed_linear.onednn, "pack", lambda *args: calls.append(args) or pack(*args))
    layer = pack_linears(nn.Sequential(nn.Linear(24, 40)))[0]
    layer.calls = calls
    return layer


def twice(layer, input):
    """What a layer gives for few rows that come for the second time."""
    layer(input)
    return layer(input)


def expected(layer, input):
    return F.linear(input.double(), layer.weight.double(), layer.bias.double()).float()


def test_packed_and_plain_products_agree(layer):
    input = torch.randn(3, 7, 24)
    with torch.no_grad():
        torch.testing.assert_close(twice(layer, input), expected(layer, input))
    assert len(layer.calls) == 1


def test_no_weight_is_packed_for_many_rows_nor_for_a_rest_between_them(layer, monkeypatch):
    monkeypatch.setattr(packed_linear, "FEW_ROWS", 10)
    with torch.no_grad():
        for rows in (40, 9, 40, 9, 40):
            layer(torch.randn(rows, 24))
    assert not layer.calls


def test_the_weight_is_packed_once(layer):
    with torch.no_grad():
        for _ in range(3):
            layer(torch.randn(5, 24))
    assert len(layer.calls) == 1


def in_place(weight):
    weight.mul_(2)


def through_data(weight):
    weight.data.mul_(2)


@pytest.mark.parametrize("change", [in_place, through_data])
def test_a_changed_weight_is_packed_again(layer, change):
    input = torch.randn(5, 24)
    with torch.no_grad():
        twice(layer, input)
        change(layer.weight)
        torch.testing.assert_close(layer(input), expected(layer, input))
        torch.testing.assert_close(layer(input), expected(layer, input))
    assert len(layer.calls) == 2


def test_gradients_are_those_of_a_linear_layer(layer):
    plain = nn.Linear(24, 40)
    plain.load_state_dict(layer.state_dict())
    inputs = [torch.randn(5, 24).requires_grad_()] * 2
    gradients = [
        torch.autograd.grad(module(input).square().sum(), [input, *module.parameters()])
        for module, input in zip((layer, plain), inputs, strict=True)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert not layer.calls


def test_a_frozen_layer_is_packed_in_training_too(layer):
    layer.requires_grad_(False)
    input = torch.randn(5, 24)
    torch.testing.assert_close(twice(layer, input), expected(layer, input))
    assert len(layer.calls) == 1


def test_other_dtypes_and_autocast_are_left_to_torch(layer):
    with torch.no_grad():
        assert layer.double()(torch.randn(5, 24).double()).dtype == torch.float64
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer.float()(torch.randn(5, 24)).dtype == torch.bfloat16
    assert not layer.calls


def test_copies_leave_the_packed_weight_behind(layer):
    with torch.no_grad():
        twice(layer, torch.randn(5, 24))
    other = copy.deepcopy(layer)
    assert "_packed" not in vars(other) and torch.equal(other.weight, layer.weight)
    assert list(other.state_dict()) == ["weight", "bias"]


def test_only_plain_linear_layers_become_packed_ones():
    class Other(nn.Linear):
        pass

    module = pack_linears(nn.ModuleList([nn.Linear(2, 2), Other(2, 2), nn.Conv1d(2, 2, 1)]))
    assert [type(child) for child in module] == [PackedLinear, Other, nn.Conv1d]
