"""The picture of a tube: each box in its frames, on the right picture."""

import numpy as np
import pytest
import torch
from processes import launch
from small_videos import nearest_colour, write_plain_video

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install .[plots]")

from matplotlib.colors import to_rgb

from mmn.apps.visual.style import PREDICTION, TRUTH, styled_figure
from mmn.apps.visual.tube_picture import draw_tube, draw_tube_file, frames_to_show, read_frames
from mmn.data.tube_annotations import TubeAnnotation, annotation_entry, tube_entry, write_entries
from mmn.structures.tubes import Tubes
from mmn.utils.errors import ConfigError, DataError


def tube(first_frame, length, shift=0):
    """A box that moves one pixel to the right per frame."""
    left = torch.arange(length).float() + shift
    return Tubes(
        torch.tensor([first_frame]),
        torch.tensor([length]),
        torch.stack([left, torch.zeros(length), left + 9, torch.full((length,), 19.0)], dim=1),
    )


PREDICTED, TRUE = tube(4, 4), tube(6, 5, shift=3)
ANNOTATION = TubeAnnotation("a.mp4", "she costs $5 and $6", TRUE)


def boxes(axes, color):
    """[(x, y, width, height)] of the boxes of a colour."""
    found = [patch for patch in axes.patches if patch.get_edgecolor()[:3] == to_rgb(color)]
    return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in found]


def test_boxes_are_drawn_in_their_frames_only():
    with styled_figure(8, 4) as figure:
        draw_tube(figure, ANNOTATION, PREDICTED, [3, 4, 7, 8, 10, 11])
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    for number in (3, 4, 7, 8, 10, 11):
        axes = panels[f"frame {number}"]
        row, true_row = number - 4, number - 6
        assert boxes(axes, PREDICTION) == ([(row, 0, 10, 20)] if 0 <= row < 4 else [])
        assert boxes(axes, TRUTH) == ([(true_row + 3, 0, 10, 20)] if 0 <= true_row < 5 else [])


def test_title_says_what_was_asked_and_how_good_it_is():
    with styled_figure(8, 4) as figure:
        draw_tube(figure, ANNOTATION, PREDICTED, [4, 7])
    title = figure.get_suptitle()
    assert "“she costs $5 and $6”" in title
    assert "a.mp4: predicted (solid) frames 4 – 7, true (dashed) 6 – 10; vIoU" in title
    assert "tIoU 0.29" in title  # 2 of 7 frames


def test_picture_of_an_unknown_truth_has_no_iou():
    with styled_figure(8, 4) as figure:
        draw_tube(figure, TubeAnnotation("a.mp4", "she sits", None), PREDICTED, [4, 7])
    assert "IoU" not in figure.get_suptitle()
    assert not any(boxes(axes, TRUTH) for axes in figure.axes)


def test_frames_reach_a_little_beyond_both_tubes():
    assert frames_to_show(PREDICTED, TRUE, 10) == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert frames_to_show(tube(0, 100), None, 3) == [0, 57, 114]


def test_frames_are_those_of_their_numbers(tmp_path):
    path = str(write_plain_video(tmp_path / "a.mp4", num_frames=20))
    images = read_frames(path, [2, 3, 9, 25])
    assert {number: nearest_colour(image) for number, image in images.items()} == {2: "blue", 3: "yellow", 9: "blue"}


def test_video_that_ends_too_early_is_named(tmp_path):
    path = str(write_plain_video(tmp_path / "a.mp4", num_frames=5))
    with pytest.raises(DataError, match="a.mp4 ends before frame 9"):
        read_frames(path, [9, 12])


@pytest.fixture
def files(tmp_path):
    predictions, annotations = str(tmp_path / "predictions.json"), str(tmp_path / "truth.json")
    write_entries(predictions, {"a.mp4": tube_entry(PREDICTED)})
    write_entries(annotations, {"a.mp4": annotation_entry(ANNOTATION)})
    return predictions, annotations


def test_video_that_is_not_in_the_files_is_named(files, tmp_path):
    with pytest.raises(DataError, match=r"predictions.json has no video b.mp4"):
        draw_tube_file(str(tmp_path / "out.png"), files[0], "b.mp4", files[1])


def test_single_frame_is_refused(files, tmp_path):
    with pytest.raises(ConfigError, match="at least 2"):
        draw_tube_file(str(tmp_path / "out.png"), files[0], "a.mp4", files[1], num_panels=1)


def test_tool_draws_on_the_video(files, tmp_path):
    from matplotlib.image import imread

    path = write_plain_video(tmp_path / "a.mp4", num_frames=20, height=40, width=60)
    arguments = ["--predictions", files[0], "--annotations", files[1], "--video-id", "a.mp4", "--panels", "4"]
    done = launch(1, "draw_tube.py", *arguments, "--video", path, "--out", tmp_path / "tube.png")
    assert done.returncode == 0, done.stderr
    picture = imread(tmp_path / "tube.png")[..., :3]
    # Frame 3, the first of four, is yellow; the box of frames in blue is on one of them.
    for color in ((240, 230, 30), tuple(round(255 * value) for value in to_rgb(PREDICTION))):
        distance = np.abs(picture * 255 - np.array(color)).max(axis=-1)
        assert (distance < 25).sum() > 50
