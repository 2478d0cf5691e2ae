"""The picture of what was found in one video: what is drawn of a query, and how much room it gets."""

import numpy as np
import pytest

from mmn.apps.visual import localization_picture as localization
from mmn.apps.visual.localization_picture import QueryPicture, check_drawable, draw_localization
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import UserError

CELLS = ProposalCells(8, [7])
FRAME = np.full((18, 32, 3), 200, np.uint8)


def picture_of(num_moments=3, num_frames=3, window=(0.0, 40.0), query="a man runs"):
    starts = window[0] + np.arange(num_moments) * 4.0
    moments = np.stack([starts, starts + 5.0], axis=1)
    return QueryPicture(
        query, moments, np.linspace(0.9, 0.1, num_moments), [FRAME] * num_frames, np.random.rand(8, 8), window
    )


@pytest.fixture
def draw(monkeypatch):
    """(pictures, windows) -> the figure that would be written."""
    kept = []
    monkeypatch.setattr(localization, "save_png", lambda figure, path: kept.append(figure))

    def drawn(*pictures, windows=((0.0, 40.0),)):
        draw_localization("found.png", "walk, 40.0 s", windows[-1][1], windows, CELLS.mask.numpy(), pictures)
        return kept[-1]

    return drawn


def all_axes(part):
    return [*part.axes]


def images(figure):
    """Frames, without score maps and colour bars."""
    found = [image for axes in all_axes(figure) for image in axes.images]
    return [image for image in found if image.get_array().ndim == 3]


def test_every_query_has_its_frames_timeline_and_map(draw):
    figure = draw(picture_of(), picture_of(num_moments=5, num_frames=5))
    assert len(images(figure)) == 3 + 5
    maps = [axes for axes in all_axes(figure) if axes.get_xlabel() == "end (s)"]
    timelines = [axes for axes in all_axes(figure) if axes.get_xlabel() == "time (s)"]
    assert len(maps) == len(timelines) == 2
    assert [len(axes.get_yticks()) for axes in timelines] == [3, 5]


def test_frames_are_titled_by_rank_and_time(draw):
    figure = draw(picture_of(num_moments=2, num_frames=2))
    titles = [axes.get_title(loc="center") for axes in all_axes(figure) if axes.images]
    assert titles[:2] == ["1 · 2.5 s", "2 · 6.5 s"]


def test_without_a_video_file_there_are_no_frames(draw):
    assert images(draw(picture_of(num_frames=0))) == []


def test_map_of_a_window_has_the_times_of_the_video(draw):
    windows = ((0.0, 40.0), (20.0, 60.0), (40.0, 80.0))
    figure = draw(picture_of(window=(20.0, 60.0)), windows=windows)
    (axes,) = [axes for axes in all_axes(figure) if axes.get_xlabel() == "end (s)"]
    clip = 40.0 / 8
    assert axes.images[0].get_extent() == pytest.approx([20 + clip / 2, 60 + clip / 2, 60 - clip / 2, 20 - clip / 2])
    assert axes.get_title(loc="left") == "final score, 20 to 60 s"


def test_windows_are_lines_above_the_timeline_of_which_none_overlap_in_a_row(draw):
    windows = tuple((start, start + 40.0) for start in (0.0, 20.0, 40.0, 60.0))
    figure = draw(picture_of(window=(20.0, 60.0)), windows=windows)
    (axes,) = [axes for axes in all_axes(figure) if axes.get_xlabel() == "time (s)"]
    lines = [(line.get_ydata()[0], *line.get_xdata()) for line in axes.lines]
    assert [(first, last) for _, first, last in lines] == [
        (pytest.approx(a, abs=1), pytest.approx(b, abs=1)) for a, b in windows
    ]
    for height in {line[0] for line in lines}:
        row = sorted(line[1:] for line in lines if line[0] == height)
        assert all(one[1] <= other[0] for one, other in zip(row[:-1], row[1:], strict=True))


@pytest.mark.parametrize("query", ["costs $5 and $6", "two\nlines", "x" * 500, "人が歩く"])
def test_any_query_can_be_drawn(tmp_path, query, recwarn):
    path = tmp_path / "found.png"
    draw_localization(str(path), "walk", 40.0, [(0.0, 40.0)], CELLS.mask.numpy(), [picture_of(query=query)])
    assert path.read_bytes().startswith(b"\x89PNG")


def test_query_without_a_moment_can_be_drawn(draw):
    assert images(draw(picture_of(num_moments=0, num_frames=0))) == []


def test_more_queries_than_can_be_looked_at_are_refused():
    with pytest.raises(UserError, match="51 queries"):
        check_drawable(51)
