"""The renderer: what an annotation says is where the pixels change, and a shape is and does what its sentence says."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmn.apps.synthetic.shape_rendering import RGB, draw, make_scene, render, signed_distance
from mmn.apps.synthetic.shape_videos import ACTIONS, COLOURS, SHAPES, Segment, ShapeVideo, make_shape_video
from mmn.apps.synthetic.synthetic_moments import SPLITS

SIZE = 48
FPS = 8.0


def short_video(index, split="train", seed=0):
    return make_shape_video(split, index, seed, fps=FPS, seconds=(4, 6))


def one_action(action, colour="red", shape="square", to_colour=None, num_frames=40):
    """A video in which nothing else happens, from frame 10 to frame 30."""
    segment = Segment(10, 30, colour, shape, action, to_colour or colour, (0.5, 0.5), "It acts.")
    return ShapeVideo(num_frames, FPS, (segment,), (), (0,))


def changed(frames):
    """bool [frames, SIZE, SIZE], where a pixel is clearly not as in the first frame, which shows the bare scene."""
    frames = np.stack(frames).astype(int)
    return np.abs(frames - frames[0]).max(-1) > 25


def centres(frames):
    """(x, y) [frames, 2] of the shape as shares of the size, in the frames that show one."""
    return np.array([[np.nonzero(mask)[axis].mean() / SIZE for axis in (1, 0)] for mask in changed(frames)[10:30]])


def areas(frames):
    return changed(frames).sum((1, 2))[10:30]


@given(st.sampled_from(SPLITS), st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=25)
def test_pixels_change_just_where_the_timeline_says(split, index, seed):
    video = short_video(index, split, seed)
    frames = list(render(video, SIZE))
    assert len(frames) == video.num_frames
    acting = np.zeros(video.num_frames, bool)
    for segment in video.segments:
        assert 0 <= segment.first < segment.last < video.num_frames
        assert not acting[segment.first : segment.last].any()
        acting[segment.first : segment.last] = True
    still = frames[int(np.flatnonzero(~acting)[0])]
    np.testing.assert_array_equal([(frame != still).any() for frame in frames], acting)


@given(st.integers(0, 10**6))
def test_annotated_times_are_those_of_the_frames(index):
    video = make_shape_video("test", index, 0, fps=8)
    entry = video.annotation()
    told = [segment for segment in video.segments if segment.sentence is not None]
    assert len(told) == len(entry["sentences"]) == len(entry["timestamps"]) >= 3
    assert 12 <= entry["duration"] <= 24
    for (start, end), segment in zip(entry["timestamps"], told, strict=True):
        assert (start * 8, end * 8) == (segment.first, segment.last)
        assert 0 <= start < end <= entry["duration"]


@given(st.integers(0, 10**6))
def test_sentences_of_a_video_tell_of_different_things(index):
    """No other action of the video, told or not, has the colour, the shape and the way to act of a sentence."""
    segments = make_shape_video("train", index, 0, fps=8).segments
    assert len({(segment.colour, segment.shape, segment.action) for segment in segments}) == len(segments)
    assert any(segment.sentence is None for segment in segments)
    assert all(first.last < second.first for first, second in zip(segments, segments[1:], strict=False))


@given(st.integers(0, 10**6))
def test_sentence_says_colour_shape_and_action(index):
    for segment in make_shape_video("train", index, 0, fps=8).segments:
        if segment.sentence is None:
            continue
        text = segment.sentence.lower()
        verbs, _ = ACTIONS[segment.action]
        assert text[0] in "atw" and text.endswith(".") and "  " not in text and " ." not in text
        assert any(word in text for word in COLOURS[segment.colour])
        assert any(word in text for word in SHAPES[segment.shape])
        assert any(form in text for verb in verbs for form in verb)
        if segment.action == "turn":
            assert segment.to_colour != segment.colour
            assert any(text.endswith(f"{word}.") for word in COLOURS[segment.to_colour])


def test_same_seed_gives_the_same_frames_and_another_one_others():
    first, again, other = (list(render(short_video(3, seed=seed), SIZE)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_splits_and_numbers_have_videos_of_their_own():
    videos = {short_video(index, split).segments for index in range(10) for split in SPLITS}
    assert len(videos) == 30


@pytest.mark.parametrize(
    ("action", "step"),
    [("move right", (1, 0)), ("move left", (-1, 0)), ("move up", (0, -1)), ("move down", (0, 1))],
)
def test_moving_shape_goes_where_the_action_says(action, step):
    path = centres(list(render(one_action(action), SIZE)))
    np.testing.assert_allclose(path[-1] - path[0], np.array(step) * 0.7 * 19 / 20, atol=0.02)
    along = path @ np.array(step)
    assert (np.diff(along) > 0).all()
    np.testing.assert_allclose(path @ np.array(step[::-1]), 0.5 * sum(step), atol=0.02)


def test_growing_and_shrinking_shapes_change_their_area_all_the_time():
    growing, shrinking = (areas(list(render(one_action(action), SIZE))) for action in ("grow", "shrink"))
    assert growing[-1] > 6 * growing[0]
    assert (np.diff(growing) >= 0).all()
    np.testing.assert_array_equal(growing, shrinking[::-1])


def test_appearing_shape_comes_to_its_size_and_stays():
    area = areas(list(render(one_action("appear"), SIZE)))
    assert area[0] < area[2] < area[4]
    assert len(set(area[4:])) == 1


def test_turning_shape_begins_in_one_colour_and_ends_in_the_other():
    frames = list(render(one_action("turn", "green", to_colour="yellow"), SIZE))
    middle = [frame[SIZE // 2, SIZE // 2] for frame in frames[10:30]]
    np.testing.assert_array_equal(middle[0], RGB["green"])
    np.testing.assert_array_equal(middle[-1], RGB["yellow"])
    assert (np.diff([int(colour[0]) for colour in middle]) >= 0).all()


def test_standing_shape_is_in_every_frame():
    video = next(video for video in map(short_video, range(20)) if video.standing)
    with_shape, without = video, dataclasses.replace(video, standing=())
    differs = [
        (first != second).any() for first, second in zip(render(with_shape, SIZE), render(without, SIZE), strict=True)
    ]
    assert all(differs)


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_fits_its_radius_and_covers_its_centre(shape):
    """By sampling the plane: inside is below zero, nothing lies beyond the circumscribed circle."""
    axis = np.linspace(-2, 2, 201)
    x, y = axis[None, :], axis[:, None]
    inside = signed_distance(shape, x, y) < 0
    assert inside[100, 100]
    corner = np.sqrt(2) * 0.86 if shape == "square" else 1.05
    assert np.hypot(x, y)[inside].max() <= corner
    assert inside.sum() / inside.size * 16 > 1  # at least a third of the unit circle


def test_shapes_differ_from_each_other():
    scene = make_scene(one_action("appear"), SIZE)
    pictures = [draw(scene, shape, RGB["red"], (0.5, 0.5), 0.2) for shape in SHAPES]
    for number, first in enumerate(pictures):
        for second in pictures[number + 1 :]:
            assert (np.abs(first - second).max(-1) > 60).sum() > 10
