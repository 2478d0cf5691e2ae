"""Frames of a video file, one after the other in constant memory: upright, RGB, each with the time it is shown at.

Times are seconds from the start of the file as a player counts them, so that a track which begins late begins late here
too. Frames are shown from their own time until the next one's, whatever the frame rate does in between.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np

from mmn.apps.video.torchcodec import TorchcodecReader, torchcodec_decoder
from mmn.utils.errors import DataError, UserError
from mmn.utils.logger import get_logger

# Containers that store times in whole milliseconds (Matroska) are off by half of one.
TIME_TOLERANCE = 1e-3
# A file whose pictures end this much before the time that its header states has been cut off; seconds, share.
MISSING_SECONDS, MISSING_SHARE = 1.0, 0.05
BAD_PACKET_SHARE = 0.1  # beyond it a video counts as damaged
SEEK_GAP = 5.0  # seconds; it is quicker to decode up to a time that is nearer than this
# What FFmpeg also opens as a "video".
NO_VIDEO_FORMATS = ("tty", "image2", "bin", "ansi")


@dataclass(frozen=True)
class VideoInfo:
    """A video track as its file describes it.

    Attributes:
        duration: seconds, from the start of the file to the end of the video track.
        frame_rate: frames per second, the mean where it varies.
        width, height: pixels of the upright picture.
    """

    duration: float
    frame_rate: float
    width: int
    height: int


class Frame(NamedTuple):
    """A picture [H, W, 3] uint8 RGB, upright, and the time in seconds that it was asked for or begins at."""

    time: float
    image: np.ndarray


def probe(path: str | os.PathLike) -> VideoInfo:
    """Length, frame rate and size of a video. Raises DataError where the file is no video or shows no picture."""
    with _Reader(path) as reader:
        first = next(reader.pictures(), None)
        if first is None:
            raise DataError(f"{path} holds no picture that can be decoded: fetch or make the file again")
        height, width = first.image.shape[:2]
        return VideoInfo(reader.duration(), reader.frame_rate(), width, height)


def iter_frames(
    path: str | os.PathLike,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    allow_truncated: bool = False,
) -> Iterator[Frame]:
    """The frames of a video in order, decoded as they are asked for.

    Args:
        fps: the frames shown at start, start + 1 / fps, ...; None gives every frame of the file with its own time.
        start, end: seconds; frames from `start` on and before `end`, by default the end of the video.
        allow_truncated: whether a video that ends before the time that its header states just ends there.
    Raises:
        DataError: where the file is no video, cannot be decoded, or was cut off.
    """
    if fps is not None and not fps > 0:
        raise UserError(f"a video cannot be sampled at {fps} frames per second: give a number above 0")
    stop = float("inf") if end is None else end
    with _Reader(path) as reader:
        decoder = torchcodec_decoder()
        if decoder is not None:
            yield from _by_torchcodec(TorchcodecReader(decoder, reader.path, reader.zero), reader, fps, start, stop)
        else:
            pictures = reader.pictures(start)
            yield from _every(pictures, start, stop) if fps is None else _sampled(pictures, fps, start, stop)
        reader.check_end(stop, allow_truncated)


def frames_at(path: str | os.PathLike, times: Sequence[float]) -> list[Frame]:
    """The frames shown at `times` (seconds, in any order), in the order of `times`; beyond the end, the last frame."""
    order = sorted(range(len(times)), key=lambda index: times[index])
    found: list[Frame | None] = [None] * len(times)
    with _Reader(path) as reader:
        pictures, current, following = iter(()), None, None
        for index in order:
            time = max(times[index], 0.0)
            if current is None or (following is not None and time > following.time + SEEK_GAP):
                pictures = reader.pictures(time)
                current, following = next(pictures, None), next(pictures, None)
            while following is not None and following.time <= time + TIME_TOLERANCE:
                current, following = following, next(pictures, None)
            if current is None:
                raise DataError(f"{path} holds no picture that can be decoded: fetch or make the file again")
            found[index] = Frame(times[index], current.image)
    return found


class _Picture:
    """A decoded frame that becomes RGB only when its image is asked for.

    Attributes:
        time, end: seconds from the start of the file.
    """

    def __init__(self, frame, time: float, end: float, explained: Callable[[str], AbstractContextManager]):
        self.time = time
        self.end = end
        self._frame = frame
        self._explained = explained
        self._image: np.ndarray | None = None

    @property
    def image(self) -> np.ndarray:
        if self._image is None:
            matrix = self._frame.side_data.get("DISPLAYMATRIX")
            with self._explained("has a picture that cannot be turned into RGB"):
                image = self._frame.to_ndarray(format="rgb24")
            self._image = image if matrix is None else upright(image, np.frombuffer(bytes(matrix), np.int32))
        return self._image


def upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn and mirror a stored picture [H, W, 3] as its display matrix says, to the nearest quarter turn.

    Args:
        matrix: at least five int32 a, b, u, c, d of FFmpeg's display matrix; a stored pixel (x, y) is shown at
            (a x + c y, b x + d y).
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _every(pictures: Iterator[_Picture], start: float, stop: float) -> Iterator[Frame]:
    for picture in pictures:
        if picture.time >= stop - TIME_TOLERANCE:
            return
        if picture.time >= start - TIME_TOLERANCE:
            yield Frame(picture.time, picture.image)


def _sampled(pictures: Iterator[_Picture], fps: float, start: float, stop: float) -> Iterator[Frame]:
    times, shown = _grid(fps, start), None
    time = next(times)
    for picture in pictures:
        while shown is not None and time < min(picture.time, stop) - TIME_TOLERANCE:
            yield Frame(time, shown.image)
            time = next(times)
        if picture.time >= stop:
            return
        shown = picture
    if shown is None:
        return
    last = min(max(shown.end, shown.time + 1.5 * TIME_TOLERANCE), stop)  # the only picture may be a very short one
    while time < last - TIME_TOLERANCE:
        yield Frame(time, shown.image)
        time = next(times)


def _by_torchcodec(
    decoder: TorchcodecReader, reader: "_Reader", fps: float | None, start: float, stop: float
) -> Iterator[Frame]:
    reader.last_end = decoder.end
    stop = min(stop, decoder.end) - TIME_TOLERANCE
    if fps is None:
        frames = (frame for frame in decoder.every() if frame[0] >= start - TIME_TOLERANCE)
    else:
        frames = decoder.sampled(itertools.takewhile(lambda time: time < stop, _grid(fps, start)), TIME_TOLERANCE)
    for time, image in itertools.takewhile(lambda frame: frame[0] < stop, frames):
        yield Frame(time, image)


def _grid(fps: float, start: float) -> Iterator[float]:
    return (start + count / fps for count in itertools.count())


class _Reader:
    """An open file. The pictures come in the order they are shown in."""

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self.av = import_av()
        if os.path.isdir(self.path):
            raise DataError(f"the video {self.path} is a folder: name a video file in it")
        if not os.path.isfile(self.path):
            raise DataError(f"the video {self.path} does not exist: correct the path")
        self._open()
        self.last_end = 0.0

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_) -> None:
        self.container.close()

    def _open(self) -> None:
        with self._explained("is no video that can be read"):
            # "file:" keeps a name with a colon in it from being taken for a protocol.
            self.container = self.av.open(f"file:{self.path}")
        self.stream = self._video_stream()
        self.stream.thread_type = "AUTO"
        self.num_packets = self.num_bad = 0
        self.is_at_start = True

    def _rewind(self) -> None:
        """Go to the first packet, by opening the file anew: seeking to the start can miss a stream's first key frame."""
        if not self.is_at_start:
            self.container.close()
            self._open()

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self.av.FFmpegError, OSError, ValueError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DataError(f"{self.path} {what} ({reason}): fetch or make the file again") from error

    def _video_stream(self):
        """The first track of moving pictures; cover art of a sound file is none."""
        cover = self.av.stream.Disposition.attached_pic
        streams = [stream for stream in self.container.streams.video if not stream.disposition & cover]
        format_names = self.container.format.name.split(",")
        if any(name in NO_VIDEO_FORMATS or name.endswith("_pipe") for name in format_names):
            streams = []
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in self.container.streams})) or "nothing"
            self.container.close()
            raise DataError(
                f"{self.path} holds no video (its format is {self.container.format.name}, with {kinds}): leave it out"
            )
        return streams[0]

    @property
    def zero(self) -> float:
        """The time that the file's own clock shows at its start, in seconds."""
        if self.container.start_time is not None:
            return self.container.start_time / self.av.time_base
        return float((self.stream.start_time or 0) * self.stream.time_base)

    def frame_rate(self) -> float:
        rate = self.stream.average_rate or self.stream.guessed_rate or self.stream.base_rate
        return float(rate) if rate else 0.0

    def duration(self) -> float:
        """Seconds from the start of the file to the end of the video track: what is stated, or the last packet's end.

        The later of the two: a header may count in decoding order, and the tail of a file that was cut off is missing.
        """
        stated = self.stated_end()
        self._rewind() if stated is None else self._seek(stated)
        return max(stated or 0.0, self._last_packet_end())

    def stated_end(self) -> float | None:
        """The end of the video track in seconds as the file's header has it, None where it says nothing."""
        stream, tags = self.stream, {key.upper(): value for key, value in self.stream.metadata.items()}
        if stream.duration:
            begin = float((stream.start_time or 0) * stream.time_base)
            return begin + float(stream.duration * stream.time_base) - self.zero
        if "DURATION" in tags:  # as Matroska files have it, "00:01:02.345000000"
            with contextlib.suppress(ValueError):
                hours, minutes, seconds = tags["DURATION"].split(":")
                return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        return self.container.duration / self.av.time_base if self.container.duration else None

    def _last_packet_end(self) -> float:
        """The end in seconds of all packets from the current position on."""
        end = 0.0
        with self._explained("cannot be read to its end"):
            for packet in self.container.demux(self.stream):
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - self.zero)
        return end

    def pictures(self, start: float = 0.0) -> Iterator[_Picture]:
        """The pictures from the last one that can be jumped to at or before `start` on, to the end of the file."""
        if start > 0:
            self._seek(start)
            pictures = self._decode()
            first = next(pictures, None)
            if first is not None and first.time <= start + TIME_TOLERANCE:
                yield first
                yield from pictures
                return
            # A file without a usable index lands anywhere.
        self._rewind()
        yield from self._decode()

    def _seek(self, time: float) -> None:
        self.is_at_start = False
        with contextlib.suppress(self.av.FFmpegError, OSError):  # the callers notice where they are
            offset = int((time + self.zero) / self.stream.time_base)
            self.container.seek(offset, stream=self.stream, backward=True)

    def _decode(self) -> Iterator[_Picture]:
        rate = self.frame_rate() or 25.0
        time = -1.0 / rate
        self.num_packets = self.num_bad = 0
        for packet in self._packets():
            self.num_packets += 1
            try:
                frames = packet.decode()
            except self.av.error.InvalidDataError:
                self.num_bad += 1
                continue
            except (self.av.FFmpegError, OSError, ValueError, MemoryError) as error:
                raise DataError(f"{self.path} cannot be decoded ({error}): fetch or make the file again") from error
            for frame in frames:
                previous, time = time, time + 1.0 / rate  # for a frame that does not say its time
                if frame.pts is not None:
                    time = max(previous, float(frame.pts * frame.time_base) - self.zero)
                length = float(frame.duration * frame.time_base) if frame.duration else 1.0 / rate
                self.last_end = time + length
                yield _Picture(frame, time, self.last_end, self._explained)

    def _packets(self) -> Iterator:
        self.is_at_start = False
        with self._explained("cannot be read to its end"):
            yield from self.container.demux(self.stream)

    def check_end(self, stop: float, allow_truncated: bool) -> None:
        """Raise DataError where pictures are missing. To be called after the last one."""
        if not self.last_end:
            raise DataError(f"{self.path} holds no picture that can be decoded: fetch or make the file again")
        if self.num_bad > BAD_PACKET_SHARE * self.num_packets and not allow_truncated:
            raise DataError(
                f"{self.path} is damaged ({self.num_bad} of its {self.num_packets} packets cannot be decoded): fetch or "
                "make the file again"
            )
        if self.num_bad:
            get_logger().warning("%s: %d damaged packets of %d left out", self.path, self.num_bad, self.num_packets)
        stated = min(self.stated_end() or 0.0, stop)
        if stated - self.last_end <= max(MISSING_SECONDS, MISSING_SHARE * stated):
            return
        missing = f"ends after {self.last_end:.2f} s, although its header states {stated:.2f} s"
        if not allow_truncated:
            raise DataError(f"{self.path} is truncated, as it {missing}: fetch it again, or allow truncated videos")
        get_logger().warning("%s %s", self.path, missing)


def import_av() -> ModuleType:
    """PyAV. Raises UserError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UserError(f"videos are read by PyAV, which is missing here ({error}): pip install .[video]") from error
    return av
