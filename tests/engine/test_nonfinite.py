"""Steps that the device leaves out, by the contract that PyTorch's fused optimizers have with its gradient scaler."""

import copy

import pytest
import torch
from torch import nn

from mmn.engine.nonfinite import step_unless


@pytest.fixture
def trained():
    """(a layer, its optimizer) after a step, with gradients for the next."""
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        layer(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
    return layer, optimizer


def state_of(layer, optimizer):
    return [*layer.parameters(), *(value for state in optimizer.state.values() for value in state.values())]


def test_step_that_is_left_out_changes_no_weight_moment_or_count(trained):
    layer, optimizer = trained
    before = copy.deepcopy(state_of(*trained))
    layer.weight.grad[0, 0] = float("nan")
    step_unless(optimizer, torch.tensor(True))
    assert all(torch.equal(*pair) for pair in zip(state_of(*trained), before, strict=True))


def test_other_steps_are_ordinary_ones(trained):
    twin = copy.deepcopy(trained[0])
    other = torch.optim.AdamW(twin.parameters(), lr=0.1, fused=True)
    other.load_state_dict(copy.deepcopy(trained[1].state_dict()))
    for mine, theirs in zip(trained[0].parameters(), twin.parameters(), strict=True):
        theirs.grad = mine.grad.clone()
    step_unless(trained[1], torch.tensor(False))
    other.step()
    assert all(torch.equal(*pair) for pair in zip(state_of(*trained), state_of(twin, other), strict=True))


def test_optimizers_that_would_not_heed_it_are_refused(trained):
    optimizer = torch.optim.AdamW(trained[0].parameters(), fused=False)
    with pytest.raises(AssertionError):
        step_unless(optimizer, torch.tensor(True))
