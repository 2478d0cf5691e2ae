"""Sentences that come again are not encoded again."""

import pytest
import torch
from small_encoders import bert

from mmn.modeling.fast import sentence_memo
from mmn.modeling.text_encoder import SentencePooling, remembered_sentences


@pytest.fixture
def encoder():
    encoder = SentencePooling(bert()).eval()
    encoder.encoded = []
    encode = encoder._encode

    def counting(tokens, token_mask):
        encoder.encoded += [row[: int(mask.sum())].tolist() for row, mask in zip(tokens, token_mask, strict=True)]
        return encode(tokens, token_mask)

    encoder._encode = counting
    return encoder


def batch(*sentences):
    width = max(map(len, sentences))
    token_mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in sentences])
    return torch.tensor([ids + [0] * (width - len(ids)) for ids in sentences]), token_mask


@torch.no_grad()
def test_each_sentence_is_encoded_once_and_has_the_vector_that_it_has_alone(encoder):
    batches = [batch([5, 6, 7], [5, 6]), batch([8], [5, 6], [9, 9, 9, 9]), batch([5, 6, 7], [8])]
    expected = [encoder.sentence_vectors(*one) for one in batches]
    encoder.encoded.clear()
    with remembered_sentences(torch.nn.Sequential(encoder)):
        found = [encoder.sentence_vectors(*one) for one in batches]
    assert encoder.encoded == [[5, 6, 7], [5, 6], [8], [9, 9, 9, 9]]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_nothing_is_remembered_afterwards(encoder):
    one = batch([5, 6])
    with remembered_sentences(encoder):
        before = encoder.sentence_vectors(*one)
    encoder.bert.embeddings.word_embeddings.weight.normal_()
    assert not torch.allclose(encoder.sentence_vectors(*one), before)


@torch.no_grad()
def test_only_so_many_sentences_are_kept(encoder, monkeypatch):
    monkeypatch.setattr(sentence_memo, "MOST_SENTENCES", 2)
    with remembered_sentences(encoder):
        for first in (5, 6, 7, 5, 7):
            encoder.sentence_vectors(*batch([first]))
    assert encoder.encoded == [[5], [6], [7], [7]]
