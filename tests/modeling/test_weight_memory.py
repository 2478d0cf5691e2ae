"""What inference keeps of the fast convolutions' transformed weights."""

import itertools

import pytest
import torch

from mmn.modeling.fast.conv_cost import Use, candidates, fast_cost
from mmn.modeling.fast.transformed_weights import TransformedWeights
from mmn.modeling.fast.weight_memory import choose_layers
from mmn.modeling.proposal_conv import ProposalConv
from mmn.structures.proposals import ProposalCells

CHANNELS = [(64, 32), (64, 64), (64, 64)]  # (C_out, C_in)


def build(kept_mb, dtype=torch.float64):
    """Three layers of 32 to 64 channels, in evaluation mode."""
    torch.manual_seed(0)
    cells = ProposalCells(8, [7])
    return ProposalConv(cells, 32, 64, 3, 3, 4, impl="fast", kept_mb=kept_mb).to(dtype).eval()


def kept_mb(model):
    kept = [folded.kept for folded in model.fast_stack._folded if folded.kept is not None]
    tensors = [tensor for one in kept for tensor in (one.matrices if isinstance(one, TransformedWeights) else [one])]
    return sum(tensor.nbytes for tensor in tensors) / 2**20


@pytest.mark.parametrize("limit", [0, 0.2, 0.6, 1000])
def test_results_are_those_of_the_dense_form_whatever_is_kept(limit):
    model = build(limit)
    packed = torch.randn(2, 32, len(model.cells), dtype=torch.float64)
    with torch.no_grad():
        features = model.features(packed)
        model.convs[1].weight.mul_(2)
        changed = model.features(packed)
        torch.testing.assert_close(changed, model.cells.from_map(model.dense_features(model.cells.to_map(packed))).mT)
    assert not torch.equal(changed, features)


def test_what_is_kept_stays_within_the_limit():
    held = []
    for limit in (0, 0.6, 1000):
        model = build(limit, torch.float32)
        with torch.no_grad():
            model(torch.randn(2, 32, len(model.cells)))
        held.append(kept_mb(model))
        assert held[-1] <= limit
    assert held[0] == 0 < held[1] < held[2]


@pytest.mark.parametrize("limit", [0, 0.3, 0.6, 0.9, 1000])
def test_no_other_choice_within_the_limit_takes_less_time(limit):
    layers = build(0).fast_stack.needed
    options = [
        [
            (
                fast_cost(layer.num_tiles(algorithm.tile_size), algorithm, channels, 4, use),
                4 * matrices * channels[0] * channels[1],
            )
            for algorithm in candidates(3)
            for use, matrices in ((Use.KEPT, algorithm.num_products), (Use.TAPS, 9), (Use.STREAMED, 0))
        ]
        for layer, channels in zip(layers, CHANNELS, strict=True)
    ]
    fastest = min(
        sum(seconds for seconds, _ in plan)
        for plan in itertools.product(*options)
        if sum(nbytes for _, nbytes in plan) <= limit * 2**20
    )
    chosen = choose_layers(layers, 3, CHANNELS, 4, limit)
    assert sum(choice.seconds for choice in chosen) == pytest.approx(fastest)
