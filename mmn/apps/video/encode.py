"""Video files that every browser plays: mp4 with h264 (yuv420p) and aac, its index in front ("faststart").

Needs PyAV (`pip install .[video]`).
"""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from mmn.apps.video.decode import TIME_TOLERANCE, Frame, frames_at, import_av, iter_frames, probe
from mmn.utils.errors import ConfigError, DataError, UserError
from mmn.utils.files import atomic_path
from mmn.utils.logger import get_logger

av = import_av()

CODEC = "libx264"
X264 = {
    "crf": "18",  # constant rate factor: 0 is lossless, 23 its default, 18 hardly told from the original
    "preset": "veryfast",
    "bf": "0",  # with reordered frames the length stated in an mp4 file misses what the last ones last
}
CUT_TIME_BASE = Fraction(1, 90000)  # the unit of a cut's timestamps, in seconds: frame times of any rate fit well
OTHER_AUDIO_RATE = 48000  # samples per second, where aac does not have the source's
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}  # by the number of channels; others are mixed to stereo
FRAME_DURATION = 1 << 8  # AV_CODEC_FLAG_FRAME_DURATION: the last frame lasts as long as it is said to


def write_video(path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write frames as an mp4 file; it appears whole or not at all.

    One thread encodes, so that the same frames give the same file wherever the same PyAV is installed, but for about one
    file in five hundred, in which the encoder was seen to round a frame another way.

    Args:
        path: ends in .mp4; missing folders are made.
        frames: uint8 [H, W, 3] RGB, upright, all of one size, taken one by one. h264 holds even sizes only: of an odd
            one the last row or column is written twice.
        fps: frames per second.
    Raises ConfigError for a path, frame or rate that cannot be, UserError where the place cannot be written.
    """
    path = _check_target(path)
    if not 0 < fps <= 1000:
        raise ConfigError(f"{path} cannot be written at {fps} frames per second: the rate must be in (0, 1000]")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ConfigError(f"{path} cannot be written without a frame: give at least one")
    rate = Fraction(fps).limit_denominator(1001)
    _check_frame(path, first, first)
    with atomic_path(path) as scratch, _open_output(scratch) as container:
        stream = _add_video(container, first.shape, 1 / rate, rate)
        stream.codec_context.thread_count = 1
        for index, image in enumerate(_chain(first, frames)):
            _check_frame(path, image, first)
            container.mux(stream.encode(_to_frame(image, stream, index, 1)))
        container.mux(stream.encode())


def cut_video(path: str | os.PathLike, start: float, end: float, out: str | os.PathLike) -> None:
    """Write what `path` shows and sounds from `start` to `end` as an mp4 file; it appears whole or not at all.

    The cut is made at the times asked for, not at key frames, so everything is encoded anew. It begins with the frame
    on show at `start`, keeps the frames' own times (also at a variable rate) and the first audio track that can be
    decoded, and stands upright without rotation metadata.

    Args:
        path: any video that `mmn.apps.video.decode` reads.
        start, end: seconds from the beginning of the video. An end beyond that of the video is taken as the video's.
        out: ends in .mp4; missing folders are made.
    Raises ConfigError for times or a target that cannot be, DataError for a file that is no video or cannot be read,
    UserError where the target cannot be written.
    """
    path, out = os.fspath(path), _check_target(out)
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
        raise ConfigError(f"{path} cannot be cut from {start} s to {end} s: the times must be 0 <= start < end")
    info = probe(path)
    if start >= info.duration:
        raise ConfigError(f"{path} cannot be cut from {start:g} s on: the video ends at {info.duration:.2f} s")
    rate = Fraction(info.frame_rate or 25).limit_denominator(1001)
    frames = _frames_with_ends(path, start, end, info.duration, 1 / rate)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_reading(path))
        target = stack.enter_context(_open_output(stack.enter_context(atomic_path(out))))
        video = _add_video(target, (info.height, info.width), CUT_TIME_BASE, rate)
        track = _audio_track(source)
        audio = None if track is None else _AudioCut(source, track, target, start, end)
        for frame, frame_end in frames:
            pts = round((frame.time - start) / CUT_TIME_BASE)
            duration = round((frame_end - start) / CUT_TIME_BASE) - pts
            target.mux(video.encode(_to_frame(frame.image, video, pts, duration)))
            if audio is not None:
                audio.encode_until(frame_end)
        target.mux(video.encode())
        if audio is not None:
            audio.finish()


def _frames_with_ends(
    path: str, start: float, end: float, duration: float, period: Fraction
) -> Iterator[tuple[Frame, float]]:
    """(frame, the time in seconds until which it is shown) for all that is seen from `start` to `end`.

    The last frame of a video stays until its stated `duration`, and at least for the mean `period`.
    """
    shown = Frame(start, frames_at(path, [start])[0].image)
    for frame in iter_frames(path, start=start, end=end):
        if frame.time - start > TIME_TOLERANCE:  # the frame on show at `start` may begin just there
            yield shown, frame.time
            shown = frame
    yield shown, min(end, max(duration, shown.time + float(period)))


class _AudioCut:
    """An audio track of `source` from `start` to `end` (seconds), as aac in `target`, cut at the sample."""

    def __init__(self, source, track, target, start: float, end: float):
        self.target = target
        self.track = track
        self.zero = (source.start_time or 0) / av.time_base
        context = self.track.codec_context
        known = context.sample_rate in av.Codec("aac", "w").audio_rates
        rate = context.sample_rate if known else OTHER_AUDIO_RATE
        layout = LAYOUTS.get(context.layout.nb_channels, "stereo")
        self.out = target.add_stream("aac", rate=rate, layout=layout)
        self.trim = av.filter.Graph()
        first, last = start + self.zero, end + self.zero
        self.trim.link_nodes(
            self.trim.add_abuffer(template=self.track, time_base=self.track.time_base),
            self.trim.add("atrim", f"start={first:.6f}:end={last:.6f}"),
            self.trim.add("asetpts", f"PTS-{first:.6f}/TB"),
            self.trim.add("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"),
            self.trim.add("abuffersink"),
        ).configure()
        with contextlib.suppress(av.FFmpegError):  # without an index all is read from the beginning
            source.seek(int(first / self.track.time_base), stream=self.track)
        self.frames = source.decode(self.track)
        self.seconds = -math.inf  # the time of the newest frame

    def encode_until(self, seconds: float) -> None:
        """Encode at least what is heard before `seconds` of the source."""
        while self.seconds < seconds and (frame := next(self.frames, None)) is not None:
            if frame.pts is not None:
                self.seconds = float(frame.pts * frame.time_base) - self.zero
            self.trim.push(frame)
            self._encode_trimmed()

    def finish(self) -> None:
        self.trim.push(None)
        self._encode_trimmed()
        self.target.mux(self.out.encode(None))

    def _encode_trimmed(self) -> None:
        with contextlib.suppress(av.BlockingIOError, av.EOFError):  # nothing more in the graph, for now or for good
            while True:
                self.target.mux(self.out.encode(self.trim.pull()))


def _audio_track(source):
    """The first audio track of an open file that can be decoded, None where there is none."""
    tracks = [track for track in source.streams.audio if track.codec_context is not None]
    if source.streams.audio and not tracks:
        get_logger().warning("%s has sound of a kind that cannot be decoded: it is left out", source.name)
    return tracks[0] if tracks else None


def _check_target(path: str | os.PathLike) -> str:
    path = os.fspath(path)
    if not path.lower().endswith(".mp4"):
        raise ConfigError(f"{path} cannot be written: videos are written as mp4, so let the name end in .mp4")
    if CODEC not in av.codecs_available:
        raise UserError(f"the installed PyAV was built without {CODEC}: install the wheel from PyPI, pip install av")
    return path


def _check_frame(path: str, image: np.ndarray, first: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ConfigError(
            f"{path} cannot be written from a frame that is {image.dtype} {list(image.shape)}: give uint8 [H, W, 3] RGB"
        )
    if image.shape != first.shape:
        raise ConfigError(
            f"{path} cannot be written from frames of {list(first.shape)} and of {list(image.shape)}: make all one size"
        )


def _chain(first: np.ndarray, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from frames


def _add_video(container, shape: tuple[int, ...], time_base: Fraction, rate: Fraction):
    """An h264 stream for images of `shape` (H, W, ...), timestamps in `time_base`, and a key frame every two seconds."""
    stream = container.add_stream(CODEC, rate=rate, options=X264)
    stream.height, stream.width = (size + size % 2 for size in shape[:2])
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = time_base
    stream.codec_context.gop_size = max(1, round(2 * rate))
    stream.codec_context.flags |= FRAME_DURATION
    for name, value in _COLOURS.items():
        setattr(stream.codec_context, name, value)
    return stream


# The numbers of ITU-T H.273 for BT.709 and the limited range, said in the file so that no player has to guess.
_COLOURS = {"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 1}


def _to_frame(image: np.ndarray, stream, pts: int, duration: int):
    """A yuv420p frame of `image` [H, W, 3] for the stream; times in units of its time base."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    # Videos whose size changes on the way exist; their later frames take on the size of the first.
    size = {"width": stream.width, "height": stream.height}
    frame = frame.reformat(**size, format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
    frame.pts, frame.duration = pts, duration
    return frame


def _open_output(path: str):
    return av.open(path, "w", format="mp4", options={"movflags": "+faststart"})


@contextlib.contextmanager
def _reading(path: str) -> Iterator:
    """`path` opened; FFmpeg's errors about its content become a DataError."""
    try:
        with av.open(f"file:{path}") as source:
            yield source
    except av.FFmpegError as error:
        raise DataError(f"{path} cannot be cut ({error.strerror}): check that the file is whole") from error
