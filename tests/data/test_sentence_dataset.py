"""Batches of sentences: each video comes once."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.data.annotations import VideoAnnotation
from mmn.data.cache import SharedClipCache
from mmn.data.sentence_dataset import SentenceCollator, SentenceDataset

COUNTS = [2, 1, 3]


class Words:
    """Sentence "a b c" -> [97, 98, 99], and the vector of a number n: [n, -n]."""

    pad_id = 0

    def __call__(self, sentences):
        return [np.array([ord(word) for word in sentence.split()], dtype=np.int32) for sentence in sentences]

    @staticmethod
    def vectors(ids):
        return np.stack([ids, -ids], axis=-1).astype(np.float32)


def make_dataset():
    videos = [
        VideoAnnotation(
            f"video_{video}",
            10.0 * (video + 1),
            [" ".join("abcdef"[: video + number + 1]) for number in range(count)],
            [np.array([[number, number + 1.5]]) for number in range(count)],
        )
        for video, count in enumerate(COUNTS)
    ]
    dataset = SentenceDataset("split", videos, None, Words(), 2, SharedClipCache(3, 2, 4, 1e6), (0.5,))
    for number in range(3):  # as if the features had been read
        dataset.cache.get(number, lambda number=number: np.full((2, 4), number, dtype=np.float32))
    return dataset


@given(st.lists(st.integers(0, sum(COUNTS) - 1), min_size=1, max_size=8))
def test_every_sentence_keeps_its_own_and_every_video_comes_once(numbers):
    dataset = make_dataset()
    assert len(dataset) == sum(COUNTS)
    batch = SentenceCollator(Words.vectors)([dataset[number] for number in numbers])
    assert sorted(batch.sentence_ids.tolist()) == sorted(numbers)
    assert len(set(batch.video_ids)) == len(batch.video_ids) == len(batch.feats) == len(batch.layout.counts)
    for row, number in enumerate(batch.sentence_ids.tolist()):
        video = np.repeat([0, 1, 2], COUNTS)[number]
        place = number - sum(COUNTS[:video])
        own = int(batch.video_index[row])
        assert batch.video_ids[own] == f"video_{video}"
        assert batch.feats[own].unique().tolist() == [video]
        assert batch.durations[own] == batch.sentence_durations[row] == 10.0 * (video + 1)
        assert batch.moments[row].tolist() == [place, place + 1.5]
        words = batch.tokens[batch.token_rows[row]][batch.token_mask[batch.token_rows[row]].bool()]
        assert torch.equal(words, torch.tensor([[97.0 + n, -97.0 - n] for n in range(video + place + 1)]))
