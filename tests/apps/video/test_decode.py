"""Frames and their times, for files of every kind that users have."""

import itertools
import shutil

import numpy as np
import odd_videos
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_videos import EVEN, number_of, red_corner, write_video

pytest.importorskip("av", reason="PyAV is not installed: pip install .[video]")

import av

from mmn.apps.video import encode
from mmn.apps.video.decode import Frame, frames_at, iter_frames, probe, upright
from mmn.utils.errors import DataError, UserError

UNEVEN = (0.0, 0.1, 0.5, 2.0, 2.1, 2.15, 4.0)


def shown_at(times, time):
    """The plain meaning of a frame's time: it is shown until the next one."""
    return max(number for number, begin in enumerate(times) if begin <= time + 1e-3 or number == 0)


@pytest.fixture(scope="module")
def even(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "even.mp4")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "uneven.mp4", UNEVEN)


def numbers(frames):
    return [number_of(frame.image) for frame in frames]


# ---- Probing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extension, codec", [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4")]
)
def test_probe_tells_length_rate_and_size(tmp_path, extension, codec):
    info = probe(write_video(tmp_path / f"v.{extension}", codec=codec))
    assert (info.duration, info.frame_rate) == (pytest.approx(2.0, abs=0.01), pytest.approx(10.0))
    assert (info.height, info.width) == (48, 64)


def test_probe_finds_the_length_of_a_file_that_does_not_state_it(tmp_path):
    path = write_video(tmp_path / "v.mkv")
    live = tmp_path / "live.mkv"
    with av.open(str(path)) as source, av.open(str(live), "w", options={"live": "1"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    with av.open(str(live)) as container:
        assert container.duration is None
    assert probe(live).duration == pytest.approx(2.0, abs=0.11)


def test_probe_of_an_uneven_file_reaches_its_last_frame(uneven):
    assert probe(uneven).duration > 4.0


# ---- Every frame -------------------------------------------------------------------------------------------------------


def test_every_frame_comes_once_with_its_time(even):
    frames = list(iter_frames(even))
    assert numbers(frames) == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx(EVEN)
    assert all(frame.image.dtype == np.uint8 and frame.image.shape == (48, 64, 3) for frame in frames)


def test_frames_of_an_uneven_file_have_their_own_times(uneven):
    assert [frame.time for frame in iter_frames(uneven)] == pytest.approx(UNEVEN)


def test_frames_before_start_and_from_end_on_are_left_out(even):
    assert numbers(iter_frames(even, start=0.3, end=0.7)) == [3, 4, 5, 6]


def test_frames_come_one_at_a_time(even, monkeypatch):
    frames = iter_frames(even)
    assert number_of(next(frames).image) == 0
    frames.close()


# ---- Sampling ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.floats(0.3, 40), st.floats(0, 2.5), st.one_of(st.none(), st.floats(0, 5)))
def test_samples_are_the_frames_shown_at_their_times(uneven, fps, start, end):
    frames = list(iter_frames(uneven, fps, start, end))
    stop = 4.1 if end is None else min(end, 4.1)
    grid = list(itertools.takewhile(lambda time: time < stop - 1e-3, (start + count / fps for count in range(1000))))
    assert [frame.time for frame in frames] == pytest.approx(grid)
    assert numbers(frames) == [shown_at(UNEVEN, time) for time in grid]


@pytest.mark.parametrize(
    "extension, codec", [("mkv", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4"), ("ts", "libx264")]
)
@pytest.mark.parametrize("fps", [2.0, 25.0])
def test_every_container_gives_the_same_samples(tmp_path, extension, codec, fps):
    path = write_video(tmp_path / f"v.{extension}", codec=codec)
    assert numbers(iter_frames(path, fps)) == [shown_at(EVEN, count / fps) for count in range(int(2 * fps))]


def test_a_track_that_begins_late_is_sampled_from_the_start_of_the_file(tmp_path):
    path = write_video(tmp_path / "v.mkv", [time + 1 for time in EVEN], sound_from=0.0)
    assert numbers(iter_frames(path, fps=2)) == [0, 0, 0, 5, 10, 15]


def test_a_rate_that_is_no_number_above_zero_is_refused(even):
    with pytest.raises(UserError, match="0 frames per second"):
        next(iter_frames(even, 0))


def test_nothing_comes_from_beyond_the_end(even):
    assert list(iter_frames(even, 5, start=99)) == []


# ---- Single frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extension, codec", [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "libx264")]
)
@pytest.mark.parametrize("key_frame_every", [1, 5, 100])
def test_single_frames_come_in_the_order_asked_for(tmp_path, extension, codec, key_frame_every):
    times = tuple(number / 10 for number in range(24))
    path = write_video(tmp_path / f"v.{extension}", times, codec=codec, key_frame_every=key_frame_every)
    frames = frames_at(path, [1.75, 0.0, 0.42, 1.75, 99.0, -1.0])
    assert numbers(frames) == [17, 0, 4, 17, 23, 0]
    assert [frame.time for frame in frames] == [1.75, 0.0, 0.42, 1.75, 99.0, -1.0]


def test_single_frames_of_a_long_gap_are_found(tmp_path):
    path = write_video(tmp_path / "v.mp4", (0.0, 1.0, 30.0, 31.0, 60.0))
    assert numbers(frames_at(path, [45.0, 59.9, 29.0, 60.0])) == [3, 3, 1, 4]


def test_single_frames_of_a_stream_whose_only_key_frame_is_late(tmp_path):
    path = write_video(tmp_path / "v.ts", sound_from=0.0, key_frame_every=100)
    (frame,) = frames_at(path, [0.65])
    assert number_of(frame.image) in (5, 6)  # the sound's first packet shifts the file's start


# ---- Turned pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rotation, corner, shape",
    [
        (90, "lower left", (64, 48, 3)),
        (-90, "upper right", (64, 48, 3)),
        (180, "lower right", (48, 64, 3)),
    ],
)
def test_pictures_are_turned_as_a_player_turns_them(tmp_path, rotation, corner, shape):
    path = write_video(tmp_path / "v.mp4", rotation=rotation)
    frame = next(iter_frames(path))
    assert (red_corner(frame.image), frame.image.shape) == (corner, shape)
    info = probe(path)
    assert (info.height, info.width) == shape[:2]


QUARTER_TURNS = [
    *((across, 0, 0, down) for across in (1, -1) for down in (1, -1)),
    *((0, across, down, 0) for across in (1, -1) for down in (1, -1)),
]


@pytest.mark.parametrize("matrix", QUARTER_TURNS)
def test_upright_moves_each_pixel_as_the_matrix_says(matrix):
    a, b, c, d = matrix
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    shown = {}
    for y, x in np.ndindex(3, 4):
        shown[a * x + c * y, b * x + d * y] = image[y, x, 0]
    left, top = min(x for x, _ in shown), min(y for _, y in shown)
    found = upright(image, np.array([a, b, 0, c, d, 0, 0, 0, 1]) * 65536)
    assert {(x + left, y + top): found[y, x, 0] for y, x in np.ndindex(found.shape[:2])} == shown


# ---- Odd and bad files -------------------------------------------------------------------------------------------------


def test_a_single_frame_is_a_video(tmp_path):
    path = write_video(tmp_path / "v.mp4", [0.0])
    assert numbers(iter_frames(path, 2)) == [0]
    assert probe(path).duration > 0


def test_a_single_frame_is_a_video_however_short_it_is_shown(tmp_path):
    path = tmp_path / "v.mp4"
    encode.write_video(path, [np.zeros((16, 16, 3), np.uint8)], 1000)
    assert [frame.time for frame in iter_frames(path, 1)] == [0.0]


def test_sound_is_left_alone(tmp_path):
    path = write_video(tmp_path / "v.mp4", sound_from=0.0)
    assert numbers(iter_frames(path, 5)) == list(range(0, 20, 2))


def test_a_name_with_a_colon_is_a_file(tmp_path, even, monkeypatch):
    shutil.copy(even, tmp_path / "concat:v.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(list(iter_frames("concat:v.mp4"))) == 20


def write_cover_art(path):
    """A sound file with a picture in it, as music players have them."""
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(odd_videos.picture(3), format="rgb24")))
        container.mux(cover.encode())
        odd_videos._write_silence(container, sound, 0.0)


def write_sound(path):
    with av.open(str(path), "w") as container:
        odd_videos._write_silence(container, container.add_stream("aac", rate=16000, layout="mono"), 0.0)


def write_picture(path):
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(odd_videos.picture(3), format="rgb24")))


NO_VIDEOS = {
    "text.mp4": lambda path: path.write_text("no video\n" * 200),
    "text.txt": lambda path: path.write_text("no video\n" * 200),
    "empty.mp4": lambda path: path.write_bytes(b""),
    "random.mkv": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "sound.m4a": write_sound,
    "cover.m4a": write_cover_art,
    "picture.png": write_picture,
    "without_index.mp4": lambda path: odd_videos.cut_off(write_video(path)),
    "nothing.mp4": lambda path: None,
    "folder.mp4": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_what_is_no_video_is_refused_by_name(tmp_path, name):
    NO_VIDEOS[name](tmp_path / name)
    for read in (probe, lambda path: list(iter_frames(path, 2)), lambda path: frames_at(path, [0.0])):
        with pytest.raises(DataError, match=name) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_file_that_was_cut_off_is_refused_by_name(tmp_path):
    times = tuple(number / 10 for number in range(60))
    path = odd_videos.cut_off(write_video(tmp_path / "v.mkv", times))
    with pytest.raises(DataError, match=r"v\.mkv is truncated.*states 6.00 s"):
        list(iter_frames(path, 2))


def test_the_part_before_the_cut_can_be_had(tmp_path):
    times = tuple(number / 10 for number in range(60))
    path = odd_videos.cut_off(write_video(tmp_path / "v.mkv", times))
    assert numbers(iter_frames(path, 2, end=1.0)) == [0, 5]
    allowed = numbers(iter_frames(path, 10, allow_truncated=True))
    assert 10 < len(allowed) < 50
    assert allowed == [number % 25 for number in range(len(allowed))]


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(1, 400))
def test_a_damaged_file_gives_frames_or_a_sentence(even, tmp_path_factory, seed, position, length):
    content = bytearray(even.read_bytes())
    begin = int(position * len(content))
    content[begin : begin + length] = np.random.default_rng(seed).bytes(len(content[begin : begin + length]))
    path = even.with_name("damaged.mp4")
    path.write_bytes(bytes(content))
    try:
        assert all(isinstance(frame, Frame) for frame in itertools.islice(iter_frames(path, 5), 200))
    except DataError as error:
        assert "damaged.mp4" in str(error)
        assert "\n" not in str(error)
