"""The video that a command is given: a video file, or a name in a file of features."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmn.apps.extraction.progress import ExtractionProgress
from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.data.features import FeatureFile
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import ConfigError


@dataclass(frozen=True)
class VideoSource:
    """A video to search.

    Attributes:
        video: a video file; with `features`, it may also be a name in that file.
        features: HDF5 file that holds the video's features under `feature_key`; None extracts them from the video file.
        feature_key: place of a video in that file, with {vid} for its name.
        duration: seconds; needed for features that neither have a video file nor state their duration.
    """

    video: str
    features: str | None = None
    feature_key: str = "{vid}"
    duration: float | None = None

    @property
    def is_file(self) -> bool:
        return os.path.isfile(self.video)

    @property
    def name(self) -> str:
        return Path(self.video).stem if self.is_file or self.features is None else self.video


def encode_source(
    localizer: MomentLocalizer,
    source: VideoSource,
    window: float | None,
    overlap: float | None,
    cache: str | None = None,
) -> EncodedVideo:
    """Encode the video of `source`; `window`, `overlap` and `cache` as in `MomentLocalizer.encode_video`.

    Raises ConfigError or DataError where its parts do not go together, and what `MomentLocalizer.encode_video` raises.
    """
    if source.features is None:
        if source.duration is not None:
            raise ConfigError("--duration goes with --features: a video file says itself how long it is")
        return _encode_file(localizer, source, window, overlap, cache)
    rows, duration, recipe = _read_features(source, localizer.input_size)
    return localizer.encode_video(rows, duration, window, overlap, recipe, source.name, cache=cache)


def _encode_file(
    localizer: MomentLocalizer, source: VideoSource, window: float | None, overlap: float | None, cache: str | None
) -> EncodedVideo:
    size = os.path.getsize(source.video) if source.is_file else 0
    progress = ExtractionProgress(1, size, enabled=True)

    def show(seconds: float, duration: float) -> None:
        share = size * min(seconds / duration, 1.0)
        if not progress.num_frames:
            progress.resume(share)
        progress.advance(source.name, seconds, share)

    try:
        return localizer.encode_video(source.video, window=window, overlap=overlap, on_progress=show, cache=cache)
    finally:
        progress.close()


def _read_features(source: VideoSource, input_size: int) -> tuple[np.ndarray, float, FeatureRecipe | None]:
    """Rows, seconds and, where known, recipe of a video in a feature file."""
    with contextlib.closing(NamedFeatureFile(source.features, source.feature_key, input_size)) as file:
        recipe, rows = file.recipe(), file.read(source.name)
        duration = source.duration if source.duration is not None else file.duration(source.name)
    if duration is None and source.is_file:
        from mmn.apps.video.decode import probe  # needs an optional library

        duration = probe(source.video).duration
    if duration is None:
        raise ConfigError(f"{source.features} does not say how long {source.name} is: give --duration SECONDS")
    return rows, duration, recipe


class NamedFeatureFile(FeatureFile):
    """A feature file that the command line names."""

    missing = "correct the path"
