"""Paired bootstrap over queries and seeds: is a difference between two rows of a table more than chance?

A row has one value per seed and query. What is compared are the means over both. Two things could have come out
otherwise: which queries the test split has, and which seeds the runs had. Both are resampled, independently of each
other, and the differences that result show how far the observed one can be trusted.

* Queries are paired: a resample takes the same ones for both rows. Q are drawn with replacement.
* Seeds are paired where both rows have the same ones, otherwise each row's are drawn on their own. Of S seeds S - 1 are
  drawn with replacement: with S draws the variance of the mean would come out (S - 1) / S of what it is, 2/3 with three
  seeds (J. N. K. Rao and C. F. J. Wu, "Resampling inference with complex survey data", JASA 1988, section 2). With one
  seed nothing is known about seeds, and the result holds for these very weights only.

How far to trust it: of 400 simulated comparisons with 100 queries, the 95 % interval held the truth in 99.8 % (3 seeds)
where only chance between queries differed from seed to seed, in 98 % where seeds and queries mattered alike, and in 82 %
(3 seeds) or 86 % (5 seeds) where chance between seeds dominated: so few seeds do not show how much they vary. It is careful
about queries and too narrow about seeds; more seeds mend that.

The interval is the percentile interval; the p value is the smallest level at which that interval excludes 0, so that the
two agree (B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, sections 13.3 and 16).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmn.apps.ablation.resampling import Resampling

CHUNK = 2**22  # drawn query numbers held at once
Scores = Mapping[str, np.ndarray]  # metric -> [Q] float64, as of mmn.evaluation.score_file.score_queries


@dataclass(frozen=True)
class Difference:
    """A row's mean minus the first row's, in one metric.

    Attributes:
        value: the observed difference.
        low, high: its confidence interval.
        p: two-sided p value of "there is no difference"; at least 2 / (resamples + 1).
        p_holm: the p value after Holm's correction over the rows of the table.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds (S - 1 in the denominator); the latter is nan for a single seed."""
    values = np.asarray(values, dtype=float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def compare_rows(rows: Sequence[Mapping[object, Scores]], resampling: Resampling) -> list[dict[str, Difference] | None]:
    """The differences of each row to the first, by metric; None for the first row itself.

    Args:
        rows: the scores of each row, by seed, all of the same queries in the same order.
    """
    if not rows or not all(rows):
        raise ValueError("every row needs the scores of one seed at least")
    metrics = list(next(iter(rows[0].values())))
    pairs = [_matched_seeds(rows[0], row) for row in rows[1:]]
    samples = _resample([_stack(*pair, metrics) for pair in pairs], resampling, [pair[2] for pair in pairs])
    results: list[dict[str, Difference] | None] = [{} for _ in rows]
    results[0] = None
    for column, metric in enumerate(metrics):
        summaries = [
            _summarise(_observed(pair, metric), sample[:, column], resampling.confidence)
            for pair, sample in zip(pairs, samples, strict=True)
        ]
        corrected = holm([p for *_, p in summaries])
        for result, summary, p_holm in zip(results[1:], summaries, corrected, strict=True):
            result[metric] = Difference(*summary, p_holm)
    return results


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values (S. Holm, Scandinavian Journal of Statistics 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = largest
    return corrected


def _matched_seeds(
    first: Mapping[object, Scores], other: Mapping[object, Scores]
) -> tuple[list[Scores], list[Scores], bool]:
    """The scores of both rows to compare, and whether they are paired: those of the seeds that both have, if any."""
    common = [seed for seed in first if seed in other]
    if common:
        return [first[seed] for seed in common], [other[seed] for seed in common], True
    return list(first.values()), list(other.values()), False


def _stack(
    first: Sequence[Scores], other: Sequence[Scores], is_paired: bool, metrics: Sequence[str]
) -> list[tuple[float, np.ndarray]]:
    """The terms that a resample adds up, (sign, values [seeds, metrics, Q]), each of which draws its own seeds."""

    def values(row: Sequence[Scores]) -> np.ndarray:
        return np.stack([np.stack([scores[metric] for metric in metrics]) for scores in row])

    if is_paired:
        return [(1.0, values(other) - values(first))]
    return [(1.0, values(other)), (-1.0, values(first))]


def _observed(pair: tuple[Sequence[Scores], Sequence[Scores], bool], metric: str) -> float:
    first, other, _ = pair
    return float(np.mean([scores[metric] for scores in other]) - np.mean([scores[metric] for scores in first]))


def _resample(
    rows: Sequence[list[tuple[float, np.ndarray]]], resampling: Resampling, is_paired: Sequence[bool]
) -> list[np.ndarray]:
    """The resampled differences [resamples, metrics] of each row.

    All rows see the same resampled queries, and rows with as many paired seeds the same seeds.
    """
    if not rows:
        return []
    num_queries = rows[0][0][1].shape[-1]
    terms = [term for row in rows for term in row]
    # One matrix product per chunk does all rows: [chunk, Q] @ [Q, columns].
    flat = np.concatenate([values.reshape(-1, num_queries) for _, values in terms]).T.astype(np.float32)
    generator = np.random.default_rng(resampling.seed)
    means = np.concatenate([counts @ flat for counts in _query_counts(num_queries, resampling.count, generator)])
    means = means.astype(np.float64) / num_queries
    shared = _seed_weights_by_size(terms, resampling.count, generator)
    results, start = [], 0
    for row, paired in zip(rows, is_paired, strict=True):
        total = 0.0
        for sign, values in row:
            num_seeds, num_metrics, _ = values.shape
            block = means[:, start : start + num_seeds * num_metrics].reshape(-1, num_seeds, num_metrics)
            weights = shared[num_seeds] if paired else _seed_weights(num_seeds, resampling.count, generator)
            total = total + sign * np.einsum("rsm,rs->rm", block, weights)
            start += num_seeds * num_metrics
        results.append(total)
    return results


def _query_counts(num_queries: int, count: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Counts of each query in resamples of Q draws: chunks of rows [chunk, Q] float32, `count` rows in all."""
    size = max(1, CHUNK // num_queries)
    for start in range(0, count, size):
        rows = min(size, count - start)
        drawn = generator.integers(0, num_queries, (rows, num_queries), dtype=np.int32)
        drawn += (np.arange(rows, dtype=np.int32) * num_queries)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * num_queries).reshape(rows, -1).astype(np.float32)


def _seed_weights(num_seeds: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """The weight of each seed in each resample [resamples, S], of max(S - 1, 1) draws with replacement."""
    draws = max(num_seeds - 1, 1)
    return generator.multinomial(draws, np.full(num_seeds, 1 / num_seeds), count) / draws


def _seed_weights_by_size(
    terms: Sequence[tuple[float, np.ndarray]], count: int, generator: np.random.Generator
) -> dict[int, np.ndarray]:
    sizes = sorted({len(values) for _, values in terms})
    return {size: _seed_weights(size, count, generator) for size in sizes}


def _summarise(observed: float, sample: np.ndarray, confidence: float) -> tuple[float, float, float, float]:
    """(observed, low, high, p) of a sample of differences."""
    low, high = np.quantile(sample, [(1 - confidence) / 2, (1 + confidence) / 2])
    fewer = min((sample <= 0).sum(), (sample >= 0).sum())
    return observed, float(low), float(high), min(1.0, 2 * (1 + int(fewer)) / (1 + len(sample)))
