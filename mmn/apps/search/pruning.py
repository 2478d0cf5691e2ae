"""Leaving out the moments of a video that say nothing which another one nearby does not say."""

from collections.abc import Sequence

import numpy as np

PRUNE_IOU = 0.7
"""A moment is only ever left out for one that it overlaps by so much: who finds that one has found this one as well."""


def kept_moments(
    moments: Sequence[np.ndarray], vectors: Sequence[Sequence[np.ndarray]], least_cosine: float
) -> np.ndarray:
    """The moments of a video that stay, [W * M] bool.

    Greedily, in the order in which they come: a moment is left out where a kept one before it overlaps it with an IoU of
    PRUNE_IOU at least, and is as near as `least_cosine` in every space. Windows are gone through one by one, so that what
    is compared with what stays small.

    Args:
        moments: W windows' [M, 2] seconds.
        vectors: W windows' unit vectors [M, C], for each space.
    """
    kept = [np.ones(len(part), bool) for part in moments]
    starts = np.array([part[:, 0].min() for part in moments])
    ends = np.array([part[:, 1].max() for part in moments])
    for number, part in enumerate(moments):
        own = [space[number] for space in vectors]
        before = np.flatnonzero((ends[:number] > starts[number]) & (starts[:number] < ends[number]))
        alive = kept[number]
        for other in before:
            rows = np.flatnonzero(kept[other])
            others = [space[other][rows] for space in vectors]
            alive &= ~_are_alike(part, moments[other][rows], own, others, least_cosine).any(1)
        alike = np.triu(_are_alike(part, part, own, own, least_cosine), 1)
        for row in np.flatnonzero(alike.any(1)):
            if alive[row]:
                alive &= ~alike[row]
    return np.concatenate(kept)


def _are_alike(
    moments: np.ndarray,
    others: np.ndarray,
    vectors: Sequence[np.ndarray],
    other_vectors: Sequence[np.ndarray],
    least_cosine: float,
) -> np.ndarray:
    """[M, K] bool: whether each of M moments could be left out for each of K others."""
    alike = moment_ious(moments, others) >= PRUNE_IOU
    for own, other in zip(vectors, other_vectors, strict=True):
        alike &= own.astype(np.float32) @ other.astype(np.float32).T >= least_cosine
    return alike


def moment_ious(moments: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[M, K] float32 in [0, 1], for moments [M, 2] and [K, 2]."""
    first = np.maximum(moments[:, None, 0], others[None, :, 0])
    last = np.minimum(moments[:, None, 1], others[None, :, 1])
    inter = np.maximum(last - first, 0)
    lengths, other_lengths = (part[:, 1] - part[:, 0] for part in (moments, others))
    union = lengths[:, None] + other_lengths[None] - inter
    return inter / np.maximum(union, np.finfo(np.float32).tiny)
