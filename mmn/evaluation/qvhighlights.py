"""The official metrics of QVHighlights, moments and highlights (SPEC section 12). NumPy alone; nothing here reads a file.

Shapes: Q queries; of a query n predicted windows, G true windows, L clips of CLIP_SECONDS; T thresholds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # of IoU
NUM_WINDOWS = 10  # of a query that mAP looks at
CLIP_SECONDS = 2  # of the clips whose saliency is scored
# Seconds: a true window belongs to the range that it is longer than the first number of, and not longer than the second.
LENGTHS = {"short": (0, 10), "middle": (10, 30), "long": (30, 150), "full": (0, np.inf)}
LEAST_SCORES = {"Fair": 2, "Good": 3, "VeryGood": 4}  # of an annotator who calls a clip a highlight


@dataclass(frozen=True, eq=False)
class HighlightTruth:
    """The truth of one query.

    Attributes:
        windows: [G, 2] seconds.
        num_clips: L.
        clip_ids: [R] int64, the clips that were scored; all others count as 0.
        clip_scores: [R, 3] integers 0..4, one per annotator.
    """

    windows: np.ndarray
    num_clips: int = 0
    clip_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    clip_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))

    def highlights(self, least_score: int) -> np.ndarray:
        """[L, 3] bool: the clips that each annotator calls a highlight."""
        positive = np.zeros((self.num_clips, 3), dtype=bool)
        positive[self.clip_ids] = self.clip_scores >= least_score
        return positive


@dataclass(frozen=True, eq=False)
class HighlightPrediction:
    """The prediction for one query.

    Attributes:
        windows: [n, 3] start, end (seconds) and score, in the order of the file; None where no query has windows.
        saliency: [L'] one number per clip; None where no query has them.
    """

    windows: np.ndarray | None = None
    saliency: np.ndarray | None = None


def qvhighlights_metrics(pairs: Sequence[tuple[HighlightTruth, HighlightPrediction]]) -> dict[str, dict]:
    """All metrics of a split as the official metrics file has them: percentages with two decimals, by name.

    Args:
        pairs: the truth and the prediction of every query.
    """
    metrics: dict[str, dict] = {}
    if all(prediction.windows is not None for _, prediction in pairs):
        for name, (shortest, longest) in LENGTHS.items():
            chosen = _with_length(pairs, shortest, longest)
            metrics[name] = {"MR-mAP": moment_map(chosen), "MR-R1": moment_recall(chosen)}
    if all(prediction.saliency is not None for _, prediction in pairs):
        for name, least_score in LEAST_SCORES.items():
            metrics[f"HL-min-{name}"] = highlight_metrics(pairs, least_score)
    return {"brief": _brief(metrics), **dict(sorted(metrics.items()))}


def _with_length(
    pairs: Iterable[tuple[HighlightTruth, HighlightPrediction]], shortest: float, longest: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(true windows [G, 2], predicted windows [n, 3]) of the queries that have a true window of such a length."""
    chosen = []
    for truth, prediction in pairs:
        lengths = truth.windows[:, 1] - truth.windows[:, 0]
        windows = truth.windows[(lengths > shortest) & (lengths <= longest)]
        if len(windows) and prediction.windows is not None:
            chosen.append((windows, prediction.windows))
    return chosen


def _brief(metrics: Mapping[str, dict]) -> dict[str, float]:
    """The few numbers that papers report."""
    brief: dict[str, float] = {}
    if "full" in metrics:
        full = metrics["full"]
        brief |= {f"MR-full-R1@{t}": full["MR-R1"][t] for t in ("0.5", "0.7")}
        brief |= {"MR-full-mAP": full["MR-mAP"]["average"]}
        brief |= {f"MR-full-mAP@{t}": full["MR-mAP"][t] for t in ("0.5", "0.75")}
        brief |= {f"MR-{name}-mAP": metrics[name]["MR-mAP"]["average"] for name in ("long", "middle", "short")}
    for name in LEAST_SCORES:
        brief |= {f"HL-min-{name}-{key[3:]}": value for key, value in metrics.get(f"HL-min-{name}", {}).items()}
    return brief


def percent(share: float | np.floating) -> float:
    """A share as a percentage with two decimals, rounded as the official file is: by printing."""
    return float(f"{100 * share:.2f}")


# ---- Moments ---------------------------------------------------------------------------------------------------------


def moment_recall(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """R@1 by IoU threshold, in percent: the first predicted window against the true window nearest to it.

    Args:
        pairs: true windows [G, 2] and predicted windows [n, 3] of each query. One without a predicted window is a miss.
    """
    best = [window_ious(windows[:1], truth, with_gap=True).max(initial=0.0) for truth, windows in pairs]
    return {str(threshold): percent(np.mean(np.array(best) >= threshold)) if best else 0.0 for threshold in THRESHOLDS}


def moment_map(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """mAP by IoU threshold and its `average` over them, in percent. Arguments as for `moment_recall`."""
    means = window_average_precision(pairs).mean(axis=0) if pairs else np.zeros(len(THRESHOLDS))
    by_threshold = {str(threshold): percent(mean) for threshold, mean in zip(THRESHOLDS, means, strict=True)}
    return {**by_threshold, "average": percent(means.mean())}


def window_ious(windows: np.ndarray, truth: np.ndarray, with_gap: bool) -> np.ndarray:
    """IoU [n, G] of windows [n, 2 or more] with true windows [G, 2]; 0 where what they are divided by is empty.

    Args:
        with_gap: divide by the hull, as R@1 does; otherwise by the union, as mAP does. They differ without overlap, where
            both give 0, and in windows that end before they start.
    """
    start, end = windows[:, :1], windows[:, 1:2]
    overlap = np.clip(np.minimum(end, truth[:, 1]) - np.maximum(start, truth[:, 0]), 0, None)
    hull = np.maximum(end, truth[:, 1]) - np.minimum(start, truth[:, 0])
    union = (end - start) + (truth[:, 1] - truth[:, 0]) - overlap
    whole = hull if with_gap else union
    return np.divide(overlap, whole, out=np.zeros_like(overlap, dtype=float), where=whole != 0)


def window_average_precision(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Average precision [Q, T] of each query's windows at each of THRESHOLDS. Arguments as for `moment_recall`.

    By descending score each of the first NUM_WINDOWS takes the free true window of highest IoU, if that reaches the
    threshold, and is a false positive otherwise. All queries are walked at once, padded to the same counts.
    """
    num_true = np.array([len(truth) for truth, _ in pairs])
    ious = np.full((len(pairs), NUM_WINDOWS, num_true.max()), -1.0)
    for row, (truth, windows) in enumerate(pairs):
        first = windows[:NUM_WINDOWS]
        ordered = first[np.argsort(-first[:, 2], kind="stable")]
        ious[row, : len(ordered), : len(truth)] = window_ious(ordered, truth, with_gap=False)
    free = np.ones((len(pairs), len(THRESHOLDS), ious.shape[2]), dtype=bool)
    is_hit = np.zeros((len(pairs), len(THRESHOLDS), NUM_WINDOWS), dtype=bool)
    for rank in range(NUM_WINDOWS):
        reachable = np.where(free, ious[:, None, rank], -1.0)
        best = ious.shape[2] - 1 - reachable[..., ::-1].argmax(axis=2)[..., None]  # the last of equal ones
        is_hit[..., rank : rank + 1] = np.take_along_axis(reachable, best, axis=2) >= np.array(THRESHOLDS)[:, None]
        taken = np.take_along_axis(free, best, axis=2) & ~is_hit[..., rank : rank + 1]
        np.put_along_axis(free, best, taken, axis=2)
    # Each hit adds 1 / G of recall, at the best precision that is reached there or later.
    precision = is_hit.cumsum(axis=2) / np.arange(1, NUM_WINDOWS + 1)
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    return (envelope * is_hit).sum(axis=2) / num_true[:, None]


# ---- Highlights ------------------------------------------------------------------------------------------------------


def highlight_metrics(
    pairs: Sequence[tuple[HighlightTruth, HighlightPrediction]], least_score: int
) -> dict[str, float]:
    """HL-mAP and HL-Hit1, in percent, where a clip is a highlight from `least_score` on."""
    precisions, hits = [], []
    for truth, prediction in pairs:
        positive = truth.highlights(least_score)
        saliency = np.zeros(0) if prediction.saliency is None else prediction.saliency
        top = int(np.argmax(saliency)) if len(saliency) else len(positive)
        hits.append(top < len(positive) and positive[top].any())
        fitted = np.zeros(len(positive))
        fitted[: len(saliency)] = saliency[: len(positive)]
        precisions.append([clip_average_precision(column, fitted) for column in positive.T])
    return {"HL-mAP": percent(np.mean(precisions)), "HL-Hit1": percent(np.mean(hits))}


def clip_average_precision(positive: np.ndarray, values: np.ndarray) -> float:
    """Average precision of clips by predicted values [L], where `positive` [L] bool is true; 0 without a positive one.

    Every distinct value is a threshold; the precision at one is the best at it or at any lower one; points whose recall
    is that of the next higher threshold do not count.
    """
    if not positive.any() or positive.all():
        return float(positive.any())
    order = np.argsort(values, kind="stable")
    values, positive = values[order], positive[order]
    is_first = np.append(True, values[1:] != values[:-1])  # the lowest place of each distinct value
    num_true = positive[::-1].cumsum()[::-1][is_first]
    num_taken = np.arange(len(values), 0, -1)[is_first]
    precision = np.maximum.accumulate(num_true / num_taken)
    recall = np.append(num_true / positive.sum(), 0.0).astype(np.float32)  # the curve ends at recall 0
    return float(precision[recall[:-1] != recall[1:]].mean())
