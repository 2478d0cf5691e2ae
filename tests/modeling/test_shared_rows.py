"""Several sentences in one row of the text encoder: the same vectors with fewer padded tokens."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_encoders import bert, clip, distilbert, llama, modernbert, roberta
from torch.testing import assert_close
from transformers import DistilBertModel

from mmn.modeling import text_encoder
from mmn.modeling.fast import onednn
from mmn.modeling.fast.packed_linear import pack_linears
from mmn.modeling.fast.sentence_rows import ATTENTION_PER_TOKEN, choose_rows, encode_in_rows, lay_out, takes_rows
from mmn.modeling.text_encoder import SentencePooling

has_positions = "position_ids" in inspect.signature(DistilBertModel.forward).parameters  # not before transformers 5


def sentences(lengths):
    tokens = torch.randint(5, 20, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(0))
    token_mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return tokens * token_mask, token_mask


@pytest.mark.parametrize(
    ("make", "takes"),
    [(bert, True), (distilbert, has_positions), (roberta, False), (clip, False), (llama, False), (modernbert, False)],
)
def test_rows_are_for_encoders_that_look_both_ways_as_far_as_they_can_and_count_positions_from_zero(make, takes):
    assert takes_rows(make()) is takes


@pytest.mark.parametrize("make", [bert, distilbert, roberta, clip, llama, modernbert])
@torch.no_grad()
def test_vectors_are_those_of_each_sentence_alone(make):
    lengths = [3, 17, 1, 5, 5, 2, 9]
    tokens, token_mask = sentences(lengths)
    encoder = make().eval()
    vectors = SentencePooling(encoder).sentence_vectors(tokens, token_mask)
    for row, length in enumerate(lengths):
        alone = encoder(input_ids=tokens[row : row + 1, :length]).last_hidden_state[0].mean(dim=0)
        assert_close(vectors[row], alone, rtol=1e-4, atol=1e-5)


def test_sentences_share_rows_in_inference_alone(monkeypatch):
    encoder, batch = SentencePooling(bert()), sentences([3, 7, 1, 4])
    calls = []
    in_rows = text_encoder.encode_in_rows
    monkeypatch.setattr(text_encoder, "encode_in_rows", lambda *args: calls.append(args) or in_rows(*args))
    encoder.train().sentence_vectors(*batch)
    assert not calls
    encoder.eval().sentence_vectors(*batch)
    assert len(calls) == encoder.takes_rows


def test_a_trial_packs_no_weights(monkeypatch):
    monkeypatch.setattr(onednn, "MIN_WEIGHTS", 1)
    packed, pack = [], onednn.pack
    monkeypatch.setattr(onednn, "pack", lambda *args: packed.append(args) or pack(*args))
    encoder = pack_linears(bert())
    encoder.pooler = None  # as `load_encoder` does
    assert takes_rows(encoder)
    assert not packed


@torch.no_grad()
def test_a_sentence_longer_than_the_tried_ones_keeps_the_local_attention_of_its_encoder():
    tokens, token_mask = sentences([100, 3, 5])
    encoder = modernbert(local_attention=128, positions=200).eval()
    vectors = SentencePooling(encoder).sentence_vectors(tokens, token_mask)
    assert_close(vectors[0], encoder(input_ids=tokens[:1]).last_hidden_state[0].mean(dim=0), rtol=1e-4, atol=1e-5)


def test_no_row_is_longer_than_those_that_were_tried():
    assert len(choose_rows([9, 8, 9, 8], most=17)) == 2
    assert len(choose_rows([9, 8, 9, 8], most=16)) == 4


def test_a_sentence_without_tokens_has_a_place_of_its_own():
    layout = lay_out([[0, 1, 2]], [2, 1, 0])
    states = layout.give_back(torch.arange(1.0, 4.0).view(1, 3, 1), 3, 2)
    assert states[:, :, 0].tolist() == [[1, 2], [3, 1], [1, 1]]


def test_gradients_reach_the_encoder_as_by_sentence():
    tokens, token_mask = sentences([3, 7, 1, 4])
    encoder = bert().eval()
    if not takes_rows(encoder):
        pytest.skip("this version of transformers takes no rows")
    found = []
    for states in (
        encode_in_rows(encoder, tokens, token_mask),
        encoder(input_ids=tokens, attention_mask=token_mask).last_hidden_state,
    ):
        loss = (states.square() * token_mask[..., None]).sum()
        found.append(torch.autograd.grad(loss, [p for p in encoder.parameters() if p.requires_grad], allow_unused=True))
    for in_rows, by_sentence in zip(*found, strict=True):
        assert_close(in_rows, by_sentence, rtol=1e-4, atol=1e-5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_every_token_has_one_place_and_rows_hold_less_padding_than_sentences(lengths):
    rows = choose_rows(lengths)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    layout = lay_out(rows, lengths)
    real = layout.sentence >= 0
    places = list(zip(layout.sentence[real].tolist(), layout.position[real].tolist(), strict=True))
    assert sorted(places) == [(number, place) for number, length in enumerate(lengths) for place in range(length)]
    width, longest = layout.sentence.shape[1], max(lengths)
    cost = layout.sentence.numel() * (1 + width * ATTENTION_PER_TOKEN)
    assert cost <= len(lengths) * longest * (1 + longest * ATTENTION_PER_TOKEN)


def test_sixty_sentences_of_unlike_length_leave_a_twentieth_of_their_rows_empty():
    lengths = torch.randint(6, 21, (60,), generator=torch.Generator().manual_seed(0)).tolist()
    layout = lay_out(choose_rows(lengths), lengths)
    assert (layout.sentence < 0).float().mean() < 0.05
