"""Written and cut videos: what a player would see and hear of them, by PyAV alone."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_videos import COLOURS, nearest_colour, plain_frames, write_plain_video

pytest.importorskip("av", reason="PyAV is not installed: pip install .[video]")

import av

from mmn.apps.video.encode import cut_video, write_video
from mmn.utils.errors import ConfigError, DataError

RATE = 16000  # of sound, samples per second


def seen(path):
    """[(seconds, name of the colour in the middle)] of all frames, as a player shows them."""
    with av.open(str(path)) as container:
        return [(frame.time, nearest_colour(frame.to_ndarray(format="rgb24"))) for frame in container.decode(video=0)]


def first_image(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def video_track(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {
            "codec": stream.codec_context.name,
            "pixels": stream.codec_context.pix_fmt,
            "size": (stream.width, stream.height),
            "duration": float(stream.duration * stream.time_base),
            "rate": stream.average_rate,
        }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Six seconds at 10 frames per second; frame i has the colour i modulo the number of colours."""
    return write_plain_video(tmp_path_factory.mktemp("plain") / "plain.mp4", num_frames=60)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Frames at uneven times, and a tone from 1 s to 2 s of its 3 s; (path, times)."""
    path = tmp_path_factory.mktemp("uneven") / "uneven.mp4"
    times = [0, 0.1, 0.15, 0.4, 0.5, 0.9, 1.0, 1.6, 1.7, 2.0, 2.5, 2.9]
    return write_with_tone(path, times), times


def write_with_tone(path, times, codec="aac", rate=RATE, layout="stereo"):
    """A frame at each of the times, and a tone from 1 s to 2 s of 3 s of sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, width=32, height=32, pix_fmt="yuv420p")
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(codec, rate=rate, layout=layout)
        for time, image in zip(times, plain_frames(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        seconds = np.arange(3 * rate) / rate
        tone = np.where((seconds >= 1) & (seconds < 2), 0.5 * np.sin(2 * math.pi * 440 * seconds), 0)
        sample_format = audio.format.name
        for begin in range(0, len(tone), 1024):
            container.mux(audio.encode(sound_frame(tone[begin : begin + 1024], begin, sample_format, rate, layout)))
        container.mux(audio.encode())
    return path


def sound_frame(tone, begin, sample_format, rate, layout):
    """The same tone [samples] in all channels, "fltp" or "s16"."""
    num_channels = av.AudioLayout(layout).nb_channels
    if sample_format == "fltp":
        samples = np.tile(tone.astype(np.float32), (num_channels, 1))
    else:
        samples = np.repeat((32767 * tone).astype(np.int16), num_channels)[None]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=sample_format, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
    return frame


def test_written_frames_come_back_in_their_order_times_and_colours(plain):
    expected = [(index / 10, list(COLOURS)[index % len(COLOURS)]) for index in range(60)]
    assert [(round(time, 4), colour) for time, colour in seen(plain)] == expected


def test_colours_survive_within_a_few_steps(tmp_path):
    image = np.empty((32, 32, 3), np.uint8)
    image[:] = (200, 60, 20)
    write_video(tmp_path / "orange.mp4", [image] * 3, fps=5)
    np.testing.assert_allclose(first_image(tmp_path / "orange.mp4"), image, atol=4)


def test_file_is_what_browsers_play_with_its_index_in_front(plain):
    track = {"codec": "h264", "pixels": "yuv420p", "size": (32, 32), "duration": 6.0, "rate": 10}
    assert video_track(plain) == track
    content = plain.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


def test_same_frames_give_the_same_bytes(plain, tmp_path):
    assert write_plain_video(tmp_path / "again.mp4", num_frames=60).read_bytes() == plain.read_bytes()


@pytest.mark.parametrize("fps", [7.5, 29.97, 24000 / 1001])
def test_broken_rates_last_as_long_as_they_should(fps, tmp_path):
    write_video(tmp_path / "broken.mp4", plain_frames(30), fps=fps)
    assert video_track(tmp_path / "broken.mp4")["duration"] == pytest.approx(30 / fps, abs=1e-3)


def test_odd_size_repeats_its_last_row_and_column(tmp_path):
    image = np.zeros((33, 47, 3), np.uint8)
    image[:, 40:] = 255
    write_video(tmp_path / "odd.mp4", [image], fps=1)
    shown = first_image(tmp_path / "odd.mp4")
    assert shown.shape == (34, 48, 3)
    assert shown[:, -2:].min() > 240


@pytest.mark.parametrize(
    ("frames", "fps", "words"),
    [
        ([], 10, "without a frame"),
        ([np.zeros((4, 4, 3), np.float32)], 10, "float32"),
        ([np.zeros((4, 4), np.uint8)], 10, r"uint8 \[4, 4\]"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((6, 4, 3), np.uint8)], 10, r"\[6, 4, 3\]: make all one size"),
        ([np.zeros((4, 4, 3), np.uint8)], 0, "0 frames per second"),
        ([np.zeros((4, 4, 3), np.uint8)], math.nan, "nan frames per second"),
    ],
)
def test_frames_that_are_no_video_are_a_sentence_and_leave_no_file(frames, fps, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        write_video(tmp_path / "bad.mp4", frames, fps)
    assert not list(tmp_path.iterdir())


def test_target_that_is_no_mp4_is_a_sentence(plain, tmp_path):
    with pytest.raises(ConfigError, match="end in .mp4"):
        write_video(tmp_path / "bad.avi", plain_frames(1), 10)
    with pytest.raises(ConfigError, match="end in .mp4"):
        cut_video(plain, 0, 1, tmp_path / "bad.gif")


def test_failing_frames_leave_the_file_before(plain, tmp_path):
    def failing():
        yield from plain_frames(5)
        raise KeyError("the renderer broke")

    target = tmp_path / "kept.mp4"
    target.write_bytes(plain.read_bytes())
    with pytest.raises(KeyError, match="the renderer broke"):
        write_video(target, failing(), 10)
    assert target.read_bytes() == plain.read_bytes()
    assert list(tmp_path.iterdir()) == [target]


@given(st.integers(0, 598), st.integers(1, 600))
@settings(max_examples=15)
def test_cut_shows_at_every_time_what_the_video_shows(plain, tmp_path_factory, start, length):
    end = min(start + length, 600)
    out = tmp_path_factory.mktemp("cut") / "cut.mp4"
    cut_video(plain, start / 100, (start + length) / 100, out)
    changes = sorted({start} | {hundredth for hundredth in range(start, end) if hundredth % 10 == 0})
    colours = list(COLOURS)
    expected = [((change - start) / 100, colours[change // 10 % len(colours)]) for change in changes]
    assert [(round(time, 3), colour) for time, colour in seen(out)] == expected
    assert video_track(out)["duration"] == pytest.approx((end - start) / 100, abs=0.002)


def test_cut_keeps_uneven_frame_times(uneven, tmp_path):
    path, times = uneven
    cut_video(path, 0.6, 1.65, tmp_path / "cut.mp4")
    colours = [colour for _, colour in seen(path)]
    # The frame of 0.5 s is on show at 0.6 s.
    expected = [(at, colours[times.index(time)]) for at, time in ((0, 0.5), (0.3, 0.9), (0.4, 1.0), (1.0, 1.6))]
    assert [(round(time, 3), colour) for time, colour in seen(tmp_path / "cut.mp4")] == expected


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("as_it_is.mp4", "aac", 16000, "stereo"),
        ("samples.mkv", "pcm_s16le", 8000, "mono"),
        ("odd_rate.mkv", "pcm_s16le", 37800, "mono"),
        ("surround.mkv", "pcm_s16le", 16000, "5.1"),
    ],
)
def test_cut_keeps_the_sound_in_time(name, codec, rate, layout, tmp_path):
    path = write_with_tone(tmp_path / name, [0, 1, 2, 2.9], codec, rate, layout)
    cut_video(path, 0.6, 2.4, tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as container:
        track = container.streams.audio[0]
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(track)], axis=1)
        assert (track.codec_context.name, track.layout.name) == ("aac", layout)
    loud = np.flatnonzero(np.abs(samples).max(0) > 0.25) / track.rate
    length = samples.shape[1] / track.rate
    assert 1.8 <= length + 0.01 <= 1.81 + 2 * 1024 / track.rate  # aac has whole packets of 1024 samples
    assert loud[0] == pytest.approx(0.4, abs=0.02)
    assert loud[-1] == pytest.approx(1.4, abs=0.02)


def test_cut_of_a_silent_video_has_no_sound(plain, tmp_path):
    cut_video(plain, 1, 2, tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert not container.streams.audio


def test_cut_leaves_out_sound_of_an_unknown_kind_and_says_so(tmp_path, caplog):
    path = write_with_tone(tmp_path / "sound.mkv", [0, 1, 2, 2.9])
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    cut_video(path, 1, 2, tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert not container.streams.audio
    assert "sound.mkv has sound of a kind that cannot be decoded" in caplog.text


def test_cut_may_replace_its_source(plain, tmp_path):
    path = tmp_path / "same.mp4"
    path.write_bytes(plain.read_bytes())
    cut_video(path, 2, 3, path)
    assert video_track(path)["duration"] == pytest.approx(1, abs=0.002)


def test_cut_stands_upright(tmp_path):
    """Of a file that says it is shown turned by a quarter, as phones write it."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[:8, :8] = COLOURS["red"]
    path = tmp_path / "lying.mp4"
    write_video(path, [image] * 10, fps=10)
    say_clockwise(path)
    cut_video(path, 0.2, 0.6, tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == 0
    shown = frame.to_ndarray(format="rgb24")
    assert shown.shape == (48, 32, 3)
    assert nearest_colour(shown[:8, -8:]) == "red"  # the upper left comes to the upper right
    assert nearest_colour(shown[:8, :8]) == "black"


def say_clockwise(path):
    """Write the display matrix of a turn by 90 degrees clockwise into the track header of an mp4 file."""
    one = 1 << 16
    identity, clockwise = ([one, 0, 0, 0, one, 0], [0, one, 0, -one, 0, 0])
    old, new = (np.array(matrix, ">i4").tobytes() for matrix in (identity, clockwise))
    content = path.read_bytes()
    header = content.find(b"tkhd")
    position = content.find(old, header)
    assert 0 < header < position < header + 80
    path.write_bytes(content[:position] + new + content[position + len(old) :])


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 3), (4, 2), (0, math.nan), (0, math.inf), (6.5, 9)])
def test_times_that_cannot_be_are_a_sentence(start, end, plain, tmp_path):
    with pytest.raises(ConfigError, match="cannot be cut from"):
        cut_video(plain, start, end, tmp_path / "cut.mp4")
    assert not list(tmp_path.iterdir())


def test_sources_that_are_no_video_are_a_sentence(plain, tmp_path):
    text, broken = tmp_path / "text.mp4", tmp_path / "broken.mp4"
    text.write_text("no video at all")
    broken.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    for path in (text, broken, tmp_path / "missing.mp4"):
        with pytest.raises(DataError, match=path.name):
            cut_video(path, 0, 5, tmp_path / "cut.mp4")
    assert not (tmp_path / "cut.mp4").exists()
