"""Sentences that say nearly the same: across train and test, and among the negatives of a training batch.

Two sentences are compared as sets of lower-case words by Jaccard: words in common over words of either.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from mmn.data.annotations import VideoAnnotation, iterate_sentences

WORD = re.compile(r"\w+")


def words(sentence: str) -> list[str]:
    """Its words in lower case.

    >>> words("A person opens the door.")
    ['a', 'person', 'opens', 'the', 'door']
    """
    return WORD.findall(sentence.lower())


class SentenceIndex:
    """R sentences as word sets, to compare others with."""

    def __init__(self, sentences: Sequence[str]):
        sets = [frozenset(words(sentence)) for sentence in sentences]
        self.sizes = np.array([len(members) for members in sets], dtype=np.int64)
        places = defaultdict(list)
        for number, members in enumerate(sets):
            for word in members:
                places[word].append(number)
        self.places = {word: np.array(numbers) for word, numbers in places.items()}

    def overlaps(self, sentences: Sequence[str]) -> Iterator[np.ndarray]:
        """The Jaccard of each sentence with the R sentences of the index, [R] float64; 0 where both have no word."""
        known: dict[frozenset, np.ndarray] = {}
        remaining = defaultdict(int)
        sets = [frozenset(words(sentence)) for sentence in sentences]
        for members in sets:
            remaining[members] += 1
        for members in sets:
            overlap = known[members] if members in known else self._overlaps_of(members)
            remaining[members] -= 1
            if remaining[members]:  # equal sentences are compared once
                known[members] = overlap
            else:
                known.pop(members, None)
            yield overlap

    def _overlaps_of(self, members: frozenset) -> np.ndarray:
        lists = [self.places[word] for word in members if word in self.places]
        common = np.bincount(np.concatenate(lists) if lists else [], minlength=len(self.sizes)).astype(np.float64)
        return common / np.maximum(self.sizes + len(members) - common, 1)


def highest_overlaps(sentences: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """The Jaccard of each sentence with the reference that is most like it, [S] float64."""
    index = SentenceIndex(references)
    return np.array([overlap.max(initial=0.0) for overlap in index.overlaps(sentences)])


def count_like_videos(videos: Sequence[VideoAnnotation], thresholds: Sequence[float]) -> np.ndarray:
    """Counts of the OTHER videos with a sentence of Jaccard >= threshold, for each sentence: [thresholds, S] int64."""
    sentences = [video.sentences[number] for video, number in iterate_sentences(list(videos))]
    owner = np.repeat(np.arange(len(videos)), [len(video.sentences) for video in videos])
    counts = np.zeros((len(thresholds), len(sentences)), dtype=np.int64)
    for number, overlap in enumerate(SentenceIndex(sentences).overlaps(sentences)):
        for row, threshold in enumerate(thresholds):
            like = np.unique(owner[overlap >= threshold])
            counts[row, number] = len(like) - int(owner[number] in like)
    return counts


def chance_in_batch(like_videos: np.ndarray, num_videos: int, batch_size: int) -> np.ndarray:
    """The chance that a batch with a sentence's video has at least one of the `like_videos` others too.

    A batch holds `batch_size` of the `num_videos` videos, drawn without replacement: one minus the hypergeometric
    probability of none, C(V - 1 - m, B - 1) / C(V - 1, B - 1).

    Args:
        like_videos: any shape, integers m < V.
    """
    others = num_videos - 1
    none = np.ones(like_videos.shape)
    for taken in range(min(batch_size, num_videos) - 1):
        none *= np.maximum(others - like_videos - taken, 0) / (others - taken)
    return 1 - none
