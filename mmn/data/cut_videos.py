"""Videos of hours as splits of short ones: a network that sees a whole video at once is trained on windows of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmn.data.annotations import VideoAnnotation, count_sentences
from mmn.data.feature_tracks import FeatureTracks
from mmn.data.features import FeatureReader, RowsInParts
from mmn.structures.rows_id import RowsId

ROUNDING = 1e-6  # seconds
NAMED = 0.01  # seconds, to which names say where a window lies


@dataclass(frozen=True)
class Window:
    """A window of `seconds` from `start` on in the video with the rows `rows_id`, which lasts `duration`."""

    rows_id: RowsId
    start: float
    seconds: float
    duration: float

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def name(self) -> str:
        """The id of the window among videos."""
        return f"{self.rows_id}@{self.start:.2f}-{self.end:.2f}"


def cut_videos(videos: Iterable[VideoAnnotation], seconds: float) -> tuple[list[VideoAnnotation], dict[str, Window]]:
    """Windows of videos as videos of their own, those alone in which a sentence has a moment as a whole.

    Neighbours share half a window but for NAMED, so that a moment of up to that long lies in one or two of them. A video
    that is no longer than a window, but for NAMED, is one.

    Args:
        seconds: length of a window.
    Returns:
        the windows' annotations, with times from the windows' starts and without ids of sentences, which would repeat; and
        the windows by their names.
    """
    cut, windows = [], {}
    for video in videos:
        moments = _AllMoments(video)
        for window, inside in zip(*moments.by_window(seconds), strict=True):
            if inside.any():
                cut.append(moments.inside(window, inside))
                windows[window.name] = window
    return cut, windows


def _windows(video: VideoAnnotation, seconds: float) -> list[Window]:
    last = video.duration - seconds
    if last <= NAMED:
        return [Window(video.rows_id, 0.0, video.duration, video.duration)]
    starts = [*np.arange(0.0, last - NAMED, seconds / 2).tolist(), last]  # each with a name of its own
    return [Window(video.rows_id, start, seconds, video.duration) for start in starts]


class _AllMoments:
    """The moments of all sentences of a video, compared with all of its windows at once: a film has thousands.

    Attributes:
        seconds: [G, 2] float64, those of a sentence one after another.
        sentences: [G] int64, the number of each one's sentence.
    """

    def __init__(self, video: VideoAnnotation):
        self.video = video
        self.seconds = np.concatenate([np.zeros((0, 2)), *video.windows])
        self.sentences = np.repeat(np.arange(len(video.sentences)), video.moment_counts)

    def by_window(self, seconds: float) -> tuple[list[Window], np.ndarray]:
        """The K windows of the video, and [K, G] bool, which moments lie in each; bounds may be off by rounding."""
        windows = _windows(self.video, seconds)
        starts, ends = (np.array(bounds)[:, None] for bounds in zip(*((w.start, w.end) for w in windows), strict=True))
        return windows, (self.seconds[:, 0] >= starts - ROUNDING) & (self.seconds[:, 1] <= ends + ROUNDING)

    def inside(self, window: Window, inside: np.ndarray) -> VideoAnnotation:
        """The sentences that have a moment inside a window, with these moments; `inside` [G] bool says which lie in it."""
        moments = (self.seconds[inside] - window.start).clip(0, window.seconds)
        numbers, counts = np.unique(self.sentences[inside], return_counts=True)
        return VideoAnnotation(
            window.name,
            window.seconds,
            [self.video.sentences[number] for number in numbers],
            np.split(moments, np.cumsum(counts)[:-1]),
        )

    def num_inside(self, seconds: float) -> int:
        """The sentences that have a moment in a window."""
        return len(np.unique(self.sentences[self.by_window(seconds)[1].any(axis=0)]))


def num_never_inside(videos: Sequence[VideoAnnotation], seconds: float) -> int:
    """The sentences that `cut_videos` keeps in no window."""
    return count_sentences(videos) - sum(_AllMoments(video).num_inside(seconds) for video in videos)


class CutTracks:
    """The features of windows, as `FeatureTracks` has those of videos.

    Args:
        features: those of the whole videos.
        windows: by name.
    """

    def __init__(self, features: FeatureTracks, windows: dict[str, Window]):
        self.features = features
        self.windows = windows
        # Of the last window: where a format is not read in parts, it holds all rows, and windows often follow each other.
        self._last: tuple[RowsId, RowsInParts] | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_last": None}

    @property
    def input_size(self) -> int:
        """D."""
        return self.features.input_size

    @property
    def paths(self) -> list[str]:
        """The files and folders that the tracks are in."""
        return self.features.paths

    @property
    def readers(self) -> list[FeatureReader]:
        """The source of each track's rows of whole videos."""
        return self.features.readers

    def check(self, names: Iterable[str]) -> None:
        """Raise DataError unless the videos of these windows are there, see `FeatureTracks.check`."""
        self.features.check(dict.fromkeys(self.windows[name].rows_id for name in names))

    def close(self) -> None:
        """Let go of open files."""
        self.features.close()

    def clips(self, name: str, num_clips: int) -> np.ndarray:
        """The resampled rows of a window, [P, D] float32, the only ones that are read where the format allows it.

        Raises DataError as `FeatureTracks.read` does.
        """
        window = self.windows[name]
        if self._last is None or self._last[0] != window.rows_id:
            self._last = window.rows_id, self.features.in_parts(window.rows_id)
        count, read = self._last[1]
        first, last = (round(second / window.duration * count) for second in (window.start, window.end))
        first = min(first, count - 1)
        return self.features.resample(read(slice(first, max(last, first + 1))), num_clips)
