"""The score map and the timeline: what is drawn lies where the moments are."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install .[plots]")

from matplotlib.colors import to_rgb

from mmn.apps.visual import draw_score_map, draw_timeline, image_of, save_png, styled_figure
from mmn.apps.visual.style import PREDICTION, TRUTH, plain_text
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import UserError


@pytest.fixture
def axes():
    with styled_figure(8, 4) as figure:
        yield figure.subplots()


def texts(axes):
    return [text.get_text() for text in axes.texts]


def bars(axes, color):
    """[(start, end)] of the bars of a colour, top row first."""
    found = [
        patch for patch in axes.patches if patch.get_facecolor()[:3] == to_rgb(color) and patch.get_alpha() is None
    ]
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in sorted(found, key=lambda bar: bar.get_y())]


# ---- Timeline --------------------------------------------------------------------------------------------------------


def test_timeline_has_the_truth_above_the_predictions_in_their_order(axes):
    draw_timeline(axes, 30.0, [[5, 20], [1, 4]], [0.9, 0.2], truth=[[6, 18]], ious=[0.8, 0.0])
    assert bars(axes, TRUTH) == [(6, 18)]
    assert bars(axes, PREDICTION) == [(5, 20), (1, 4)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["truth", "1", "2"]
    assert axes.get_xlim() == (0, 30)
    assert {"0.90", "0.20", "0.80", "0.00", "6.0 – 18.0"} <= set(texts(axes))


def test_timeline_without_truth_has_predictions_only(axes):
    draw_timeline(axes, 30.0, [[5, 20]])
    assert bars(axes, TRUTH) == []
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1"]


def test_timeline_says_that_there_is_no_prediction(axes):
    draw_timeline(axes, 30.0, np.zeros((0, 2)), [], truth=[[1, 2], [8, 9]])
    assert "no prediction" in texts(axes)
    assert bars(axes, TRUTH) == [(1, 2), (8, 9)]


def test_empty_moment_is_still_seen(axes):
    draw_timeline(axes, 100.0, [[5, 5]])
    ((start, end),) = bars(axes, PREDICTION)
    assert start == 5 and end > 5


# ---- Score map -------------------------------------------------------------------------------------------------------


def cell_at(axes, start, end):
    """The colour value that a map's picture has at a moment."""
    image = axes.images[0]
    left, right, bottom, top = image.get_extent()
    values = image.get_array()
    row = int((start - top) / (bottom - top) * values.shape[0])
    col = int((end - left) / (right - left) * values.shape[1])
    return values[row, col]


@pytest.mark.parametrize("num_clips, counts", [(4, [3]), (16, [15]), (16, [7, 4])])
def test_every_cell_lies_at_the_start_and_end_of_its_moment(axes, num_clips, counts):
    cells = ProposalCells(num_clips, counts)
    scores = np.arange(num_clips**2).reshape(num_clips, num_clips)
    draw_score_map(axes, scores, cells.mask.numpy(), duration=20.0)
    for row, col in zip(cells.rows.tolist(), cells.cols.tolist(), strict=True):
        start, end = row * 20.0 / num_clips, (col + 1) * 20.0 / num_clips
        assert cell_at(axes, start, end) == scores[row, col]


def test_moments_that_the_map_does_not_hold_take_the_nearest_that_it_holds(axes):
    cells = ProposalCells(16, [7, 4])
    scores = np.where(cells.mask, np.arange(256).reshape(16, 16), -1000)
    draw_score_map(axes, scores, cells.mask.numpy(), duration=16.0)
    shown = axes.images[0].get_array()
    held = np.argwhere(cells.mask.numpy())
    for row, col in np.argwhere(~cells.mask.numpy()):
        if row > col:
            assert shown[row, col] is np.ma.masked
        else:
            distance = ((held - [row, col]) ** 2).sum(axis=1)
            nearest = {scores[tuple(cell)] for cell in held[distance == distance.min()]}
            assert shown[row, col] in nearest


def test_marks_of_the_map_lie_at_their_moments(axes):
    cells = ProposalCells(8, [7])
    draw_score_map(
        axes, np.zeros((8, 8)), cells.mask.numpy(), 20.0, "final", [[1, 4], [2, 9], [0, 20], [5, 6]], [[1, 5]]
    )
    points = [(*line.get_xdata(), *line.get_ydata()) for line in axes.lines]
    assert points == [(5, 1), (20, 0), (9, 2), (4, 1)]  # the truth, then ranks 3 to 1
    assert sorted(texts(axes)) == ["1", "2", "3"]


def test_map_of_a_window_has_the_times_of_the_video(axes):
    cells = ProposalCells(4, [3])
    scores = np.arange(16).reshape(4, 4)
    draw_score_map(axes, scores, cells.mask.numpy(), 20.0, "", [[1, 4], [110, 120], [100, 105]], start=100.0)
    assert cell_at(axes, 105, 115) == scores[1, 2]
    assert texts(axes) == ["3", "2"]  # the first lies outside the window


def test_limits_fix_the_ends_of_the_colours(axes):
    draw_score_map(axes, np.full((4, 4), 0.3), ProposalCells(4, [3]).mask.numpy(), 20.0, limits=(-1, 1))
    assert axes.images[0].get_clim() == (-1, 1)


# ---- Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["costs $5$ or $\\frac{1}", "a\nb\tc\x00", "x " * 500, "", "<b> & 'q'"])
def test_any_query_can_be_a_title(tmp_path, query):
    with styled_figure(24, 2) as figure:
        figure.subplots().set_title(plain_text(query), parse_math=False)
        save_png(figure, str(tmp_path / "title.png"))
    assert (tmp_path / "title.png").read_bytes().startswith(b"\x89PNG")


def test_image_of_a_figure_is_rgb():
    with styled_figure(3, 2) as figure:
        image = image_of(figure)
    assert image.dtype == np.uint8 and image.shape[2] == 3
    assert image.shape[1] / image.shape[0] == pytest.approx(1.5, rel=0.01)
    assert (image == 255).all()


def test_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"matplotlib.*pip install \.\[plots\]"), styled_figure(3, 2):
        pass


def test_figures_of_other_threads_wait_for_the_look_they_change():
    import matplotlib

    before = dict(matplotlib.rcParams)
    seen = []

    def draw(number):
        with styled_figure(2, 1):
            seen.append(number)
            time.sleep(0.005)
            seen.append(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(draw, range(8)))
    assert seen[::2] == seen[1::2]
    assert dict(matplotlib.rcParams) == before
