"""Samples -> a batch."""

import numpy as np
import pytest
import torch

from mmn.data.annotations import VideoAnnotation
from mmn.data.collate import Collator
from mmn.data.dataset import VideoSample

PAD = 9


def sample(name, tokens, first_sentence, duration):
    moments = np.arange(2 * len(tokens), dtype=np.float32).reshape(-1, 2)
    annotation = VideoAnnotation(name, duration, ["text"] * len(tokens), moments[:, None])
    clips = np.full((4, 3), first_sentence, dtype=np.float32)
    return VideoSample(clips, [np.array(ids, dtype=np.int32) for ids in tokens], annotation, first_sentence)


@pytest.fixture
def batch():
    samples = [sample("a", [[1, 2], [1, 2, 3, 4]], 7, 10.5), sample("b", [[5, 6, 7]], 20, 30.25)]
    return Collator(PAD)(samples)


def test_tokens_are_padded_to_the_longest_of_the_batch(batch):
    assert batch.tokens.tolist() == [[1, 2, PAD, PAD], [1, 2, 3, 4], [5, 6, 7, PAD]]
    assert batch.tokens.dtype == torch.int64


def test_mask_is_one_at_real_tokens(batch):
    assert batch.token_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]


def test_sentences_know_their_videos(batch):
    assert batch.video_index.tolist() == [0, 0, 1]
    assert batch.video_ids == ["a", "b"]
    assert batch.sentence_durations.tolist() == [10.5, 10.5, 30.25]


def test_sentences_know_their_place_in_the_split(batch):
    assert batch.sentence_ids.tolist() == [7, 8, 20]


def test_moments_and_features_are_stacked_in_order(batch):
    assert batch.moments.tolist() == [[0, 1], [2, 3], [0, 1]]
    assert batch.feats.shape == (2, 4, 3)
    assert batch.feats[:, 0, 0].tolist() == [7, 20]


def test_moving_a_batch_keeps_its_names(batch):
    moved = batch.to(torch.device("cpu"))
    assert moved.video_ids == ["a", "b"]
    assert torch.equal(moved.tokens, batch.tokens)


def test_equal_sentences_are_encoded_once_and_found_again():
    batch = Collator(PAD)([sample("a", [[1, 2], [3], [1, 2]], 0, 5.0), sample("b", [[3], [4]], 3, 5.0)])
    assert batch.tokens.tolist() == [[1, 2], [3, PAD], [4, PAD]]
    assert batch.tokens[batch.token_rows].tolist() == [[1, 2], [3, PAD], [1, 2], [3, PAD], [4, PAD]]


def test_padded_lengths_are_multiples_where_asked():
    batch = Collator(PAD, length_multiple=8)([sample("a", [list(range(9)), [3]], 0, 5.0)])
    assert batch.tokens.shape == (2, 16)
    assert batch.token_mask.sum(dim=1).tolist() == [9, 1]
