"""Videos of hours as splits of short ones: a network that sees a whole video at once is trained on windows of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmn.data.annotations import VideoAnnotation
from mmn.data.feature_tracks import FeatureTracks
from mmn.data.features import FeatureReader
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
        for window in _windows(video, seconds):
            annotation = _inside(video, window)
            if annotation.sentences:
                cut.append(annotation)
                windows[window.name] = window
    return cut, windows


def _windows(video: VideoAnnotation, seconds: float) -> list[Window]:
    last = video.duration - seconds
    if last <= NAMED:
        return [Window(video.rows_id, 0.0, video.duration, video.duration)]
    starts = [*np.arange(0.0, last - NAMED, seconds / 2).tolist(), last]  # each with a name of its own
    return [Window(video.rows_id, start, seconds, video.duration) for start in starts]


def _inside(video: VideoAnnotation, window: Window) -> VideoAnnotation:
    """The sentences that have a moment inside a window, with these moments."""
    inside = [moments[_lie_in(moments, window)] - window.start for moments in video.windows]
    kept = [number for number, moments in enumerate(inside) if len(moments)]
    return VideoAnnotation(
        window.name,
        window.seconds,
        [video.sentences[number] for number in kept],
        [inside[number].clip(0, window.seconds) for number in kept],
    )


def _lie_in(moments: np.ndarray, window: Window) -> np.ndarray:
    """[G] bool, of moments [G, 2]; bounds may be off by rounding."""
    return (moments[:, 0] >= window.start - ROUNDING) & (moments[:, 1] <= window.end + ROUNDING)


def num_never_inside(videos: Sequence[VideoAnnotation], seconds: float) -> int:
    """The sentences that `cut_videos` keeps in no window."""
    return sum(
        not any(_lie_in(moments, window).any() for window in _windows(video, seconds))
        for video in videos
        for moments in video.windows
    )


class CutTracks:
    """The features of windows, as `FeatureTracks` has those of videos.

    Args:
        features: those of the whole videos.
        windows: by name.
    """

    def __init__(self, features: FeatureTracks, windows: dict[str, Window]):
        self.features = features
        self.windows = windows
        self._last: tuple[RowsId, np.ndarray] | None = None  # windows of a video often follow each other

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
        """The resampled rows of a window, [P, D] float32. Raises DataError as `FeatureTracks.read` does."""
        window = self.windows[name]
        if self._last is None or self._last[0] != window.rows_id:
            self._last = window.rows_id, self.features.read(window.rows_id)
        rows = self._last[1]
        first, last = (round(second / window.duration * len(rows)) for second in (window.start, window.end))
        first = min(first, len(rows) - 1)
        return self.features.resample(rows[first : max(last, first + 1)], num_clips)
