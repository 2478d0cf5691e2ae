"""Confidence that a query is in a library at all, or "nothing here fits".

A query is compared with videos that are not its own. The best contrastive cosine that one wrong video reaches, over many
queries and videos of a validation split, is the null distribution; its tail is the chance that one wrong video reaches a
cosine. With V videos searched, no wrong one reaches it with the chance

    confidence = (1 - tail) ** V

which takes the videos as independent. The cosine is that of the contrastive head, which alone saw other videos in training;
other quantities, and levelling each query by its scores in the library, were no better (docs/SEARCH_MEASUREMENTS.md).

Shapes: Q queries, V videos.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from mmn.apps.search.index_types import VideoMoments
from mmn.structures.query_vectors import QueryVectors
from mmn.utils.errors import ConfigError, DataError

TAIL_SHARE = 0.02  # of the null sample, to which the tail is fitted
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
LEAST_PAIRS = 500  # of a query and a wrong video: ten of them make the tail


@dataclass(frozen=True)
class Calibration:
    """The null distribution of a model, and how often thresholds err.

    Attributes:
        split: the validation split.
        num_queries, num_videos, num_pairs: counts of that split; a pair is a query and a wrong video.
        quantiles: cosines that a share of 1, ..., TAIL_SHARE of the pairs reach, the shares evenly spaced.
        shape, scale: the generalised Pareto distribution of what lies above the last of the quantiles; see `fit_tail`.
        rates: `Rates` as plain values, of the validation split and of others that were measured.
    """

    split: str
    num_queries: int
    num_videos: int
    num_pairs: int
    quantiles: tuple[float, ...]
    shape: float
    scale: float
    rates: tuple[dict[str, Any], ...] = ()

    def tail(self, cosines: np.ndarray) -> np.ndarray:
        """The chance that the best moment of one wrong video reaches a cosine; of any shape."""
        shares = np.linspace(1, TAIL_SHARE, len(self.quantiles))
        last = self.quantiles[-1]
        within = np.interp(cosines, self.quantiles, shares)
        return np.where(cosines > last, TAIL_SHARE * pareto_tail(cosines - last, self.shape, self.scale), within)

    def confidence(self, cosines: np.ndarray, num_videos: int | np.ndarray) -> np.ndarray:
        """The chance that no wrong one among V videos reaches a cosine; of any shape."""
        return (1 - self.tail(np.asarray(cosines, np.float64))) ** num_videos

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], place: str) -> "Calibration":
        """Raises DataError where these are not a calibration's words; `place` is the index, for messages."""
        try:
            known = {entry.name: values[entry.name] for entry in fields(cls)}
            calibration = cls(**known | {name: tuple(known[name]) for name in ("quantiles", "rates")})
            if not np.isfinite([*calibration.quantiles, calibration.shape, calibration.scale]).all():
                raise ValueError("it has numbers that are not finite")
            calibration.confidence(np.array([0.0, 1.0]), 1)
        except (TypeError, KeyError, ValueError, IndexError) as error:
            raise DataError(
                f"the calibration of the index {place} cannot be understood ({error!r}): calibrate it again by "
                "`mmn calibrate-index`"
            ) from error
        return calibration


@dataclass(frozen=True)
class Rates:
    """Error rates of thresholds on the queries of a split, each searched in V of its videos.

    Attributes:
        split: its name.
        num_videos: V.
        thresholds: least values of the confidence.
        false_accept: share of queries that get an answer though their own videos are taken out.
        false_reject: share of queries that get none though they are there.
        equal_error: the share where the two meet, over all thresholds.
    """

    split: str
    num_videos: int
    thresholds: tuple[float, ...]
    false_accept: tuple[float, ...]
    false_reject: tuple[float, ...]
    equal_error: float


def not_calibrated(place: str, consequence: str = "") -> ConfigError:
    """The error where the index at `place` has no calibration, with what follows of it."""
    return ConfigError(
        f"the index {place} is not calibrated{consequence}: run `mmn calibrate-index --index {place} --ckpt W --split S`"
    )


def best_cosines(queries: QueryVectors, videos: Iterable[VideoMoments]) -> np.ndarray:
    """[Q, V] float32: the best contrastive cosine of each query in each video."""
    columns = [(queries.contrastive @ video.contrastive.astype(np.float32).T).max(axis=1) for video in videos]
    return np.stack(columns, axis=1)


def fit_calibration(split: str, best: np.ndarray, is_own: np.ndarray) -> Calibration:
    """The calibration of `best_cosines` [Q, V].

    Args:
        is_own: [Q, V] bool, the videos that a query's sentence is annotated in.
    Raises DataError where there are too few pairs.
    """
    null = best[~is_own].astype(np.float64)
    if len(null) < LEAST_PAIRS:
        raise DataError(
            f"{split} has {len(null)} pairs of a query and a video that is not its own: scores are calibrated on at least "
            f"{LEAST_PAIRS}, so name a larger split"
        )
    quantiles = np.quantile(null, 1 - np.linspace(1, TAIL_SHARE, 99))
    shape, scale = fit_tail(null[null > quantiles[-1]] - quantiles[-1])
    return Calibration(split, *best.shape, len(null), tuple(quantiles.tolist()), shape, scale)


def fit_tail(excesses: np.ndarray) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto distribution of n numbers above 0, by probability-weighted moments.

    Hosking and Wallis, Technometrics 29 (1987), section 3; in their signs a shape above 0 has an end, as cosines have.
    """
    ordered = np.sort(excesses)
    positions = (np.arange(1, len(ordered) + 1) - 0.35) / len(ordered)
    first, second = ordered.mean(), ((1 - positions) * ordered).mean()
    return float(first / (first - 2 * second) - 2), float(2 * first * second / (first - 2 * second))


def pareto_tail(excesses: np.ndarray, shape: float, scale: float) -> np.ndarray:
    """The chance of more than that above where the tail begins; 1 below it.

    >>> pareto_tail(np.array([-1.0, 0.0, 0.5, 3.0]), 1.0, 2.0)
    array([1.  , 1.  , 0.75, 0.  ])
    """
    share = np.maximum(excesses, 0) / scale
    if abs(shape) < 1e-9:
        return np.exp(-share)
    with np.errstate(divide="ignore"):  # beyond the end, where the chance is 0
        return np.exp(np.log(np.maximum(1 - shape * share, 0)) / shape)


def measure_rates(
    calibration: Calibration,
    split: str,
    best: np.ndarray,
    is_own: np.ndarray,
    num_videos: int | None = None,
    seed: int = 0,
) -> Rates:
    """Measure how often thresholds err.

    Args:
        best, is_own: those of the split to measure on, as for `fit_calibration`.
        num_videos: search each query in so many videos, its own one and others drawn at random, and once without its own
            in so many others; None searches all.
    """
    there, gone = _searched(is_own, num_videos, np.random.default_rng(seed))
    accepted = [
        calibration.confidence(np.where(mask, best, -1).max(axis=1), mask.sum(axis=1)) for mask in (gone, there)
    ]
    thresholds = np.array(THRESHOLDS)
    false_accept = (accepted[0] >= thresholds[:, None]).mean(axis=1)
    false_reject = (accepted[1] < thresholds[:, None]).mean(axis=1)
    searched = best.shape[1] if num_videos is None else num_videos
    return Rates(
        split,
        searched,
        THRESHOLDS,
        tuple(false_accept.tolist()),
        tuple(false_reject.tolist()),
        equal_error_rate(*accepted),
    )


def _searched(is_own: np.ndarray, num_videos: int | None, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """[Q, V] bool twice: the videos that a query is searched in, with one of its own and without."""
    if num_videos is None:
        return np.ones_like(is_own), ~is_own
    there, gone = np.zeros_like(is_own), np.zeros_like(is_own)
    for row, own in enumerate(is_own):
        drawn = generator.choice(np.flatnonzero(~own), num_videos, replace=False)
        gone[row, drawn] = True
        there[row, [*drawn[1:], own.argmax()]] = True
    return there, gone


def equal_error_rate(absent: np.ndarray, present: np.ndarray) -> float:
    """The larger of the two errors at the threshold where that is least: `absent` reach it, or `present` do not.

    >>> equal_error_rate(np.array([0.1, 0.2, 0.6, 0.3]), np.array([0.5, 0.7, 0.8, 0.9]))
    0.25
    """
    thresholds = np.append(np.unique(np.concatenate([absent, present])), np.inf)
    accepted = 1 - np.searchsorted(np.sort(absent), thresholds, side="left") / len(absent)
    rejected = np.searchsorted(np.sort(present), thresholds, side="left") / len(present)
    return float(np.maximum(accepted, rejected).min())
