"""Sentences of like length share a forward on a CPU: the same vectors, at the least cost."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mmn.modeling.fast.length_groups import FORWARD_OVERHEAD_TOKENS, encode_in_groups, length_groups
from mmn.modeling.text_encoder import TextEncoder, load_encoder


def brute_force_cost(lengths):
    """The least padded tokens plus overheads over all ways to cut the sorted lengths."""
    ordered = sorted(lengths)
    cuts = range(1, len(ordered))
    costs = []
    for chosen in itertools.chain.from_iterable(itertools.combinations(cuts, n) for n in range(len(ordered))):
        bounds = [0, *chosen, len(ordered)]
        groups = [ordered[start:stop] for start, stop in itertools.pairwise(bounds)]
        costs.append(sum(len(group) * group[-1] + FORWARD_OVERHEAD_TOKENS for group in groups))
    return min(costs)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9))
def test_length_groups_cost_the_least(lengths):
    groups = length_groups(lengths)
    assert sorted(number for group in groups for number in group) == list(range(len(lengths)))
    cost = sum(len(group) * max(lengths[number] for number in group) + FORWARD_OVERHEAD_TOKENS for group in groups)
    assert cost == brute_force_cost(lengths)


@torch.no_grad()
def test_sentences_of_unlike_length_get_the_vectors_of_one_forward(dataset_root):
    encoder = TextEncoder(*load_encoder(str(dataset_root / "synthetic" / "text_encoder"), with_weights=True), 6).eval()
    lengths = torch.tensor([4, 30, 5, 29, *[4] * 20])
    tokens = torch.randint(5, 60, (len(lengths), 30), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(30) < lengths[:, None]).long()
    shapes = []

    def encode(tokens, token_mask):
        shapes.append(tuple(tokens.shape))
        return encoder.pooled_hidden_state(tokens, token_mask)

    grouped = encode_in_groups(encode, tokens, mask)
    assert shapes == [(22, 5), (2, 30)]
    assert_close(grouped, encoder.pooled_hidden_state(tokens, mask), rtol=1e-5, atol=1e-6)
