"""Charts of a whole prediction file. Each function draws on a figure that `styled_figure` made."""

from typing import TYPE_CHECKING

import numpy as np

from mmn.apps.visual.prediction_statistics import (
    FEW,
    HIT,
    KINDS,
    NONE,
    QueryStatistics,
    equal_bins,
    error_kinds,
    wilson_interval,
)
from mmn.apps.visual.style import COLOUR_MAP, GREEN, GREY, PREDICTION, SECOND, TRUTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_recall_by_moment(figure: "Figure", statistics: QueryStatistics) -> None:
    """Recall against the length of the true moment, in seconds and as a share of its video."""
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_recall_by(left, statistics, statistics.truth_lengths, "length of the true moment (s)")
    share = 100 * statistics.truth_lengths / statistics.durations
    _draw_recall_by(right, statistics, share, "length of the true moment (% of the video)")
    _finish_recall(left, right)


def draw_recall_by_query(figure: "Figure", statistics: QueryStatistics) -> None:
    """Recall against the words of the query and against the length of the video."""
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_recall_by(left, statistics, statistics.num_words, "length of the query (words)")
    _draw_recall_by(right, statistics, statistics.durations, "length of the video (s)")
    _finish_recall(left, right)


def _draw_recall_by(axes: "Axes", statistics: QueryStatistics, values: np.ndarray, label: str) -> None:
    """R@1 and R@5 per range of a quantity [Q], with 95% confidence intervals."""
    bins = equal_bins(values)
    places = np.arange(len(bins))
    series = (
        (f"R@{FEW}, IoU 0.5", statistics.few_ious, 0.5, SECOND, "D"),
        ("R@1, IoU 0.5", statistics.first_ious, 0.5, PREDICTION, "o"),
        ("R@1, IoU 0.7", statistics.first_ious, 0.7, GREEN, "s"),
    )
    for number, (name, ious, threshold, color, marker) in enumerate(series):
        counts = [(int((ious[bin_.members] >= threshold).sum()), len(bin_.members)) for bin_ in bins]
        recall = np.array([100 * hits / total for hits, total in counts])
        bounds = 100 * np.array([wilson_interval(*count) for count in counts]).T
        spread = np.clip([recall - bounds[0], bounds[1] - recall], 0, None)
        shifted = places + 0.1 * (number - 1)
        axes.errorbar(shifted, recall, spread, label=name, color=color, marker=marker, ms=6, lw=1.8, elinewidth=1.2)
    axes.set_xticks(places, [f"{bin_.label}\n{len(bin_.members)}" for bin_ in bins], fontsize=9)
    axes.set_xlabel(f"{label}; below, queries")
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.grid(axis="y")


def _finish_recall(left: "Axes", right: "Axes") -> None:
    left.set(ylim=(-2, 102), ylabel="recall (%)")
    left.figure.legend(*right.get_legend_handles_labels(), loc="outside upper left", ncols=3)


def draw_ious(figure: "Figure", statistics: QueryStatistics) -> None:
    """The distribution of IoU, and recall against the IoU that counts as a hit."""
    left, right = figure.subplots(1, 2)
    edges = np.linspace(0, 1, 21)
    columns = (
        (f"best of the first {FEW}", statistics.few_ious, SECOND, "--"),
        ("first prediction", statistics.first_ious, PREDICTION, "-"),
    )
    for name, ious, color, line in columns:
        counts = np.histogram(ious, edges)[0]
        shares = 100 * counts / len(statistics)
        if color == PREDICTION:
            left.stairs(shares, edges, fill=True, color=color, alpha=0.85, label=name)
        else:
            left.stairs(shares, edges, color=color, lw=2.2, label=name, zorder=3)
        thresholds = np.linspace(0, 1, 101)[1:]
        recall = [100 * (ious >= threshold).mean() for threshold in thresholds]
        right.plot(thresholds, recall, line, color=color, lw=2.2, label=name)
    mean = statistics.first_ious.mean()
    left.axvline(mean, color=TRUTH, lw=1.8, ls=":")
    left.set(xlabel="IoU with the true moment", ylabel="queries (%)", xlim=(0, 1))
    left.set_title(f"IoU; dotted, the mean of the first predictions: {100 * mean:.1f}%")
    left.legend(loc="upper center")
    left.grid(axis="y")
    for threshold in (0.3, 0.5, 0.7):
        recall = 100 * (statistics.first_ious >= threshold).mean()
        right.plot(threshold, recall, "o", color=PREDICTION)
        right.annotate(
            f"{recall:.1f}", (threshold, recall), (-4, -14), textcoords="offset points", ha="right", fontsize=9
        )
    right.set(xlabel="IoU that counts as a hit", ylabel="recall (%)", xlim=(0, 1), ylim=(0, 102), title="Recall")
    right.legend(loc="lower left")
    right.grid()


def draw_errors(figure: "Figure", statistics: QueryStatistics, iou_threshold: float = 0.5) -> None:
    """Kinds of errors of the first predictions, and their start error against their end error."""
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
    _draw_kinds(left, statistics, iou_threshold)
    has_moment = ~np.isnan(statistics.moments[:, 0])
    _draw_bound_errors(right, (statistics.moments - statistics.truth)[has_moment])


def _draw_kinds(axes: "Axes", statistics: QueryStatistics, iou_threshold: float) -> None:
    kinds = error_kinds(statistics, iou_threshold)
    is_mendable = statistics.few_ious >= iou_threshold
    shown = [kind for kind in range(len(KINDS)) if kind != NONE or (kinds == NONE).any()]
    for row, kind in enumerate(shown):
        share = 100 * (kinds == kind).mean()
        mendable = 100 * ((kinds == kind) & is_mendable).mean()
        if kind == HIT:
            axes.barh(row, share, color=GREEN)
        else:
            axes.barh(row, mendable, color=SECOND)
            axes.barh(row, share - mendable, left=mendable, color=GREY)
        axes.text(share, row, f" {share:.1f}%", va="center", fontsize=10)
    axes.barh(0, 0, color=SECOND, label=f"ranking error: a hit is among the first {FEW}")
    axes.barh(0, 0, color=GREY, label=f"no hit among the first {FEW}")
    axes.set_yticks(range(len(shown)), ["no prediction" if kind == NONE else KINDS[kind] for kind in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, axes.get_xlim()[1] * 1.12)
    axes.set(xlabel="queries (%)", title=f"First predictions, hit from IoU {iou_threshold:g}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.15), ncols=2, columnspacing=1.2)
    axes.tick_params(axis="y", length=0)


def _draw_bound_errors(axes: "Axes", errors: np.ndarray) -> None:
    """errors [q, 2] seconds, predicted minus true (start, end)."""
    axes.axhline(0, color="black", lw=0.8, zorder=3)
    axes.axvline(0, color="black", lw=0.8, zorder=3)
    if len(errors):
        limit = max(float(np.quantile(np.abs(errors), 0.98)), 0.5)
        beyond = (np.abs(errors) > limit).any(axis=1).mean()
        inside = np.clip(errors, -limit, limit)
        extent = (-limit, limit, -limit, limit)
        mesh = axes.hexbin(*inside.T, gridsize=31, extent=extent, bins="log", mincnt=1, cmap=COLOUR_MAP, linewidths=0.1)
        axes.figure.colorbar(mesh, ax=axes, label="queries", fraction=0.045, pad=0.02)
        axes.set(xlim=(-1.04 * limit, 1.04 * limit), ylim=(-1.04 * limit, 1.04 * limit))
        note = f"; {100 * beyond:.0f}% lie beyond, at the rim" if beyond else ""
        axes.set_title(f"Errors of the bounds{note}")
    style = {"transform": axes.transAxes, "fontsize": 9, "style": "italic", "zorder": 4}
    style["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    axes.text(0.02, 0.98, "too long", va="top", **style)
    axes.text(0.98, 0.02, "too short", ha="right", **style)
    axes.text(0.98, 0.98, "too late", ha="right", va="top", **style)
    axes.text(0.02, 0.02, "too early", **style)
    axes.set(xlabel="start, predicted − true (s)", ylabel="end, predicted − true (s)")
    axes.set_aspect("equal")


def draw_places(figure: "Figure", statistics: QueryStatistics) -> None:
    """Places of the true moments in their videos, and of the first predictions: a prior shows as a difference."""
    has_moment = ~np.isnan(statistics.moments[:, 0])
    durations = statistics.durations[:, None]
    groups = {
        "True moments": statistics.truth / durations,
        "First predictions": (statistics.moments / durations)[has_moment],
    }
    edges = np.linspace(0, 100, 21)
    shares = {
        name: 100 * np.histogram2d(*np.clip(100 * places, 0, 100).T, bins=edges)[0] / max(len(places), 1)
        for name, places in groups.items()
    }
    most = max(share.max() for share in shares.values())
    for axes, (name, share) in zip(figure.subplots(1, 2), shares.items(), strict=True):
        shown = np.ma.masked_equal(share, 0)  # row: start, column: end, as in the score maps
        mesh = axes.pcolormesh(edges, edges, shown, cmap=COLOUR_MAP, vmin=0, vmax=most or 1)
        axes.plot([0, 100], [0, 100], color="black", lw=0.8)
        axes.invert_yaxis()
        axes.set(xlabel="end (% of the video)", ylabel="start (% of the video)", title=name)
        axes.set_aspect("equal")
    figure.colorbar(mesh, ax=figure.axes, label="moments (%)", fraction=0.03, pad=0.02)


def draw_confidence(figure: "Figure", statistics: QueryStatistics) -> None:
    """IoU of first predictions against their score, in ten equal groups: what a score is worth."""
    axes = figure.subplots()
    has_moment = np.flatnonzero(~np.isnan(statistics.scores))
    scores, ious = statistics.scores[has_moment], statistics.first_ious[has_moment]
    bins = equal_bins(scores, most=10) if len(scores) else []
    middles = [np.median(scores[bin_.members]) for bin_ in bins]
    axes.plot(scores, ious, ".", color=SECOND, ms=4, alpha=min(1.0, 600 / max(len(scores), 1)), rasterized=True)
    quartiles = np.array([np.quantile(ious[bin_.members], [0.25, 0.75]) for bin_ in bins]).reshape(-1, 2)
    axes.fill_between(middles, *quartiles.T, color=PREDICTION, alpha=0.2, linewidth=0, label="middle half")
    means = [ious[bin_.members].mean() for bin_ in bins]
    axes.plot(middles, means, "o-", color=PREDICTION, lw=2, label="mean")
    axes.set(xlabel="score of the first prediction", ylabel="IoU", ylim=(-0.02, 1.02), title="What a score is worth")
    axes.legend(loc="lower right", frameon=True)
    axes.grid()
