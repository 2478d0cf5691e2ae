"""Synthetic moment vectors that resemble a video library's, as many as wanted, one video at a time.

A video belongs to one of NUM_THEMES themes and has a topic near it. Its clips are a smooth walk around the topic, and the
vector of a moment is the normalised mean of the clips that it spans plus noise, so that moments which overlap are near
duplicates, as in a real index. A video of n clips has all n (n + 1) / 2 moments: 105 to 1081 of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

NUM_THEMES = 512
NUM_CLIPS = (14, 46)  # of a video, both ends included
CLIP_SECONDS = 2.5
MEAN_MOMENTS = 500  # of a video, about: the mean of n (n + 1) / 2 over NUM_CLIPS
# Lengths of the parts that a clip's vector is the sum of; a theme has length 1.
TOPIC, WALK, NOISE = 0.9, 0.7, 0.25
MEMORY = 0.9  # of the walk: the correlation of one clip with the next
QUERY_COSINE = (0.5, 0.7)  # of a sentence's vector with its moment's
QUERY_DRIFT = 0.3  # the share of a sentence's error that points to another theme


@dataclass(frozen=True)
class SyntheticVideo:
    """All moments of one video.

    Attributes:
        number: its place in the library.
        moments: [M, 2] float32, start and end in seconds.
        vectors: [H, M, C] float16 unit vectors, of H heads.
    """

    number: int
    moments: np.ndarray
    vectors: np.ndarray

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.moments[:, 1].max())


class SyntheticLibrary:
    """Videos of a library by their number; the same seed gives the same ones in any order.

    Args:
        width: C, of a vector.
        num_heads: H, vectors of a moment.
    """

    def __init__(self, width: int = 256, seed: int = 0, num_heads: int = 1):
        self.width, self.seed, self.num_heads = width, seed, num_heads
        self.themes = _directions(np.random.default_rng([seed, 0]), NUM_THEMES, width)

    def video(self, number: int) -> SyntheticVideo:
        """Video `number` of the library, from 0 on."""
        generator = np.random.default_rng([self.seed, 1, number])
        num_clips = int(generator.integers(NUM_CLIPS[0], NUM_CLIPS[1] + 1))
        first, last = np.triu_indices(num_clips)
        moments = np.stack([first, last + 1], axis=1).astype(np.float32) * CLIP_SECONDS
        theme = self.themes[generator.integers(NUM_THEMES)]
        heads = [self._head(generator, theme, num_clips, first, last) for _ in range(self.num_heads)]
        return SyntheticVideo(number, moments, np.stack(heads))

    def videos(self, num_moments: int) -> Iterator[SyntheticVideo]:
        """Videos that hold `num_moments` moments together; the last one is cut to make it exact."""
        number = 0
        while num_moments > 0:
            video = self.video(number)
            if len(video.moments) > num_moments:
                video = SyntheticVideo(number, video.moments[:num_moments], video.vectors[:, :num_moments])
            num_moments -= len(video.moments)
            number += 1
            yield video

    def queries(self, count: int, num_videos: int, seed: int = 1) -> np.ndarray:
        """[count, C] float32 unit vectors of sentences, each about one moment of one of the first `num_videos` videos."""
        generator = np.random.default_rng([self.seed, 2, seed])
        queries = np.empty((count, self.width), np.float32)
        for row in range(count):
            vectors = self.video(int(generator.integers(num_videos))).vectors[0]
            target = vectors[generator.integers(len(vectors))].astype(np.float32)
            error = _directions(generator, 1, self.width)[0] * (1 - QUERY_DRIFT)
            error += QUERY_DRIFT * self.themes[generator.integers(NUM_THEMES)]
            error -= (error @ target) / (target @ target) * target
            cosine = generator.uniform(*QUERY_COSINE)
            queries[row] = cosine * _unit(target) + np.sqrt(1 - cosine**2) * _unit(error)
        return queries

    def _head(self, generator, theme: np.ndarray, num_clips: int, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """[M, C] float16 vectors of the moments that span the clips first..last."""
        walk = _directions(generator, num_clips, self.width)
        for clip in range(1, num_clips):
            walk[clip] = MEMORY * walk[clip - 1] + np.sqrt(1 - MEMORY**2) * walk[clip]
        clips = theme + TOPIC * _directions(generator, 1, self.width) + WALK * walk
        sums = np.concatenate([np.zeros((1, self.width), np.float32), clips.cumsum(axis=0, dtype=np.float32)])
        means = (sums[last + 1] - sums[first]) / (last + 1 - first)[:, None]
        return _unit(means + NOISE * _directions(generator, len(first), self.width)).astype(np.float16)


def in_batches(videos: Iterable[SyntheticVideo], num_moments: int) -> Iterator[list[SyntheticVideo]]:
    """Lists of consecutive videos, each with `num_moments` moments or more in all; the last list may have fewer."""
    batch, count = [], 0
    for video in videos:
        batch.append(video)
        count += len(video.moments)
        if count >= num_moments:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _directions(generator: np.random.Generator, count: int, width: int) -> np.ndarray:
    """[count, width] float32 vectors of about unit length (exactly in the mean of squares), uniform in direction."""
    return _unit(generator.standard_normal((count, width), dtype=np.float32))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
