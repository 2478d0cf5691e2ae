"""The picture of what was found in one video: per query the timeline, frames of the best moments, and the score map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmn.apps.visual.score_map import draw_score_map
from mmn.apps.visual.style import GREY, PREDICTION, plain_text, save_png, styled_figure
from mmn.apps.visual.timeline import draw_timeline
from mmn.utils.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

NUM_FRAMES = 5  # of the best moments
LEAST_COLUMNS = 3  # of the strip of frames: so that a single one is no larger than the rest of the picture
MOST_ROWS = 4  # of windows
MOST_QUERIES = 50  # of one picture: more cannot be looked at, and image files have a largest size
WIDTH = 14.0  # inches
HEAD, FRAMES, TIMELINE, ROW = 0.55, 1.75, 1.25, 0.3  # inches: title, strip of frames, timeline and one moment of it


@dataclass(frozen=True)
class QueryPicture:
    """The parts of the picture of one query.

    Attributes:
        query: the sentence.
        moments: [n, 2] seconds, best first.
        scores: n numbers.
        frames: images [H, W, 3] uint8 of the middles of the first moments; none where there is no video file.
        score_map: [N, N] final scores of the window that holds the best moment.
        window: (start, end) of that window, seconds.
    """

    query: str
    moments: np.ndarray
    scores: Sequence[float]
    frames: Sequence[np.ndarray]
    score_map: np.ndarray
    window: tuple[float, float]


def check_drawable(num_queries: int) -> None:
    """Raise before the work is done where `draw_localization` could not draw: no matplotlib, or too many queries."""
    with styled_figure(1, 1):
        pass
    if num_queries > MOST_QUERIES:
        raise ConfigError(
            f"a picture of {num_queries} queries cannot be looked at: plot at most {MOST_QUERIES} at a time"
        )


def draw_localization(
    path: str,
    title: str,
    duration: float,
    windows: Sequence[tuple[float, float]],
    mask: np.ndarray,
    queries: Sequence[QueryPicture],
) -> None:
    """Write the picture of a video as a png file.

    Args:
        title: heading of the whole, e.g. the video's name.
        duration: seconds.
        windows: (start, end) seconds of the windows that the video was searched in.
        mask: [N, N] bool, which cells of a score map are moments.
    """
    heights = [_height(picture) for picture in queries]
    with styled_figure(WIDTH, HEAD + sum(heights)) as figure:
        figure.suptitle(plain_text(title, 100), x=0.01, ha="left", fontweight="bold", fontsize=13, parse_math=False)
        parts = figure.subfigures(len(queries), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, picture in zip(parts, queries, strict=True):
            _draw_query(part, picture, duration, windows, mask)
        save_png(figure, path)


def _height(picture: QueryPicture) -> float:
    """Inches; what is left of the square score map must hold too."""
    strip = FRAMES if len(picture.frames) else 0.0
    return HEAD + max(strip + TIMELINE + ROW * len(picture.moments), 3.6)


def _draw_query(
    part: "SubFigure",
    picture: QueryPicture,
    duration: float,
    windows: Sequence[tuple[float, float]],
    mask: np.ndarray,
) -> None:
    part.suptitle(f"“{plain_text(picture.query, 120)}”", x=0.01, ha="left", fontsize=13, parse_math=False)
    left, right = part.subfigures(1, 2, width_ratios=[2.2, 1])
    timeline = left
    if len(picture.frames):
        bars = TIMELINE + ROW * len(picture.moments)
        strip, timeline = left.subfigures(2, 1, height_ratios=[FRAMES, bars])
        _draw_frames(strip, picture)
    axes = timeline.subplots()
    draw_timeline(axes, duration, picture.moments, picture.scores)
    if len(windows) > 1:
        _draw_windows(axes, windows, picture.window)
    caption = "final score"
    if len(windows) > 1:
        caption += ", {:.0f} to {:.0f} s".format(*picture.window)
    begin, end = picture.window
    draw_score_map(right.subplots(), picture.score_map, mask, end - begin, caption, picture.moments, start=begin)


def _draw_frames(part: "SubFigure", picture: QueryPicture) -> None:
    """The middle frames of the best moments side by side, under their ranks and times."""
    columns = max(len(picture.frames), LEAST_COLUMNS)
    for number, axes in enumerate(part.subplots(1, columns, squeeze=False)[0]):
        axes.set_axis_off()
        if number >= len(picture.frames):
            continue
        middle = float(np.mean(picture.moments[number]))
        axes.imshow(picture.frames[number], interpolation="antialiased")
        axes.set_title(f"{number + 1} · {middle:.1f} s", fontsize=10, loc="center", color=PREDICTION)


def _draw_windows(axes: "Axes", windows: Sequence[tuple[float, float]], shown: tuple[float, float]) -> None:
    """Above the bars, one line per window, in rows since they overlap; the one whose map is shown stands out."""
    place = axes.get_xaxis_transform()  # x in seconds, y in shares of the axes
    gap = 0.002 * windows[-1][1]
    clear = windows[0][1] - 0.1 * (windows[0][1] - windows[0][0])  # a little overlap in a row is not seen
    num_rows = next((number for number, window in enumerate(windows) if window[0] >= clear), 2)
    for number, (start, end) in enumerate(windows):
        is_shown = (start, end) == tuple(shown)
        style = {"color": PREDICTION if is_shown else GREY, "linewidth": 3 if is_shown else 1.5, "clip_on": False}
        height = 1.03 + 0.035 * (number % min(num_rows, MOST_ROWS))
        axes.plot([start + gap, end - gap], [height, height], transform=place, solid_capstyle="butt", **style)
    axes.text(-0.008, 1.03, "windows", transform=axes.transAxes, ha="right", va="center", fontsize=9, color="#555555")
