"""Text encoders that can be given a mask which nobody has to look at."""

import pytest
import torch
from small_encoders import bert, clip, distilbert, flaubert, llama

from mmn.modeling.attention_mask import mask_of_pairs, takes_mask_of_pairs
from mmn.modeling.fast.sentence_rows import takes_rows


@pytest.mark.parametrize(
    ("make", "takes"), [(bert, True), (distilbert, True), (clip, False), (llama, False), (flaubert, False)]
)
def test_mask_of_pairs_is_for_encoders_that_look_both_ways(make, takes):
    assert takes_mask_of_pairs(make()) is takes


@pytest.mark.parametrize("takes", [takes_mask_of_pairs, takes_rows])
def test_a_trial_leaves_every_part_of_an_encoder_in_its_mode(takes):
    encoder = bert().train()
    encoder.embeddings.eval()
    takes(encoder)
    assert encoder.training
    assert encoder.encoder.training
    assert not encoder.embeddings.training


def test_states_are_those_of_the_mask_of_tokens():
    encoder, tokens = bert().eval(), torch.randint(1, 20, (3, 7))
    token_mask = (torch.arange(7) < torch.tensor([[7], [3], [1]])).long()
    by_tokens = encoder(input_ids=tokens, attention_mask=token_mask).last_hidden_state
    by_pairs = encoder(input_ids=tokens, attention_mask=mask_of_pairs(token_mask)).last_hidden_state
    torch.testing.assert_close(by_pairs[token_mask.bool()], by_tokens[token_mask.bool()])
