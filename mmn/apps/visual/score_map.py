"""The 2D map of one query: a cell is a moment, its colour the score."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmn.apps.visual.style import COLOUR_MAP, TRUTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_MARKED = 3  # predictions that get their rank as a mark


def draw_score_map(
    axes: "Axes",
    scores: np.ndarray,
    mask: np.ndarray,
    duration: float,
    title: str = "",
    moments: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
    start: float = 0.0,
) -> None:
    """The scores of all moments of a video, with a colour bar, over the moments' end (right) and start (down).

    A map of many clips holds only some of the long moments; the others take the colour of the nearest that it holds.

    Args:
        scores: [N, N], row i, column j: the moment from clip i to clip j inclusive; read at `mask` only.
        mask: [N, N] bool, which cells are moments of the map.
        duration: seconds that the map spans.
        moments: [n, 2] seconds, predictions, best first: the first three are marked by their rank.
        truth: [G, 2] seconds: marked by squares.
        limits: the scores at the ends of the colours; by default the smallest and the largest.
        start: seconds at which the map begins, where it is of a window of a longer video. Moments and truth are in
            seconds of the video; those that do not lie in the window are left out.
    """
    from matplotlib.patheffects import withStroke

    mask = np.asarray(mask, dtype=bool)
    shown = np.asarray(scores, dtype=float).ravel()[_nearest_cell(mask.tobytes(), len(mask))]
    shown = np.ma.masked_array(shown, mask=np.tril(np.ones_like(mask), k=-1))
    low, high = limits or (shown.min(), shown.max())
    clip = duration / len(mask)
    # A cell's centre lies at its moment's end and start, so that any moment has its place on the axes.
    end = start + duration
    extent = (start + clip / 2, end + clip / 2, end - clip / 2, start - clip / 2)
    image = axes.imshow(shown, cmap=COLOUR_MAP, vmin=low, vmax=high, extent=extent, interpolation="nearest")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.outline.set_visible(False)
    halo = [withStroke(linewidth=3.5, foreground="white")]
    for _, (first, last) in _within(truth, start, end):
        axes.plot(last, first, "s", ms=13, mfc="none", mec=TRUTH, mew=2, path_effects=halo, clip_on=False, zorder=4)
    for rank, (first, last) in reversed(_within(moments, start, end)[:NUM_MARKED]):  # the best lies on top
        axes.plot(last, first, "o", ms=10, mfc="white", mec="black", mew=0.8, clip_on=False, zorder=5)
        axes.text(last, first, str(rank), ha="center", va="center_baseline", fontsize=8, zorder=6)
    axes.set(xlabel="end (s)", ylabel="start (s)", title=title)
    axes.set_aspect("equal")


def _within(moments: np.ndarray | None, start: float, end: float) -> list[tuple[int, np.ndarray]]:
    """(rank, moment) of those that lie between two times, but for rounding."""
    moments = np.asarray([] if moments is None else moments, dtype=float).reshape(-1, 2)
    slack = 1e-3 * (end - start)
    is_inside = (moments[:, 0] >= start - slack) & (moments[:, 1] <= end + slack)
    return [(rank, moment) for rank, moment in enumerate(moments, start=1) if is_inside[rank - 1]]


@lru_cache(maxsize=8)
def _nearest_cell(mask_bytes: bytes, num_clips: int) -> np.ndarray:
    """[N, N] int: for every cell the place, in the flattened map, of the nearest cell that the mask holds."""
    mask = np.frombuffer(mask_bytes, dtype=bool).reshape(num_clips, num_clips)
    rows, cols = np.nonzero(mask)
    index = np.arange(num_clips)
    nearest = np.empty((num_clips, num_clips), dtype=np.int64)
    for row in index:
        distance = (rows - row) ** 2 + (cols - index[:, None]) ** 2  # [N, M]
        nearest[row] = distance.argmin(axis=1)
    return (rows * num_clips + cols)[nearest]
