"""The video that a command is given: a video file, or a name in a file of features."""

import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from mmn.apps.extraction.progress import ExtractionProgress
from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.data.features import DAMAGE
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import ConfigError, DataError


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
    localizer: MomentLocalizer, source: VideoSource, window: float | None, overlap: float | None
) -> EncodedVideo:
    """Encode the video of `source`.

    Raises ConfigError or DataError where its parts do not go together, and what `MomentLocalizer.encode_video` raises.
    """
    if source.features is None:
        if source.duration is not None:
            raise ConfigError("--duration goes with --features: a video file says itself how long it is")
        return _encode_file(localizer, source, window, overlap)
    rows, duration, recipe = _read_features(source)
    return localizer.encode_video(rows, duration, window, overlap, recipe, source.name)


def _encode_file(
    localizer: MomentLocalizer, source: VideoSource, window: float | None, overlap: float | None
) -> EncodedVideo:
    size = os.path.getsize(source.video) if source.is_file else 0
    progress = ExtractionProgress(1, size, enabled=True)

    def show(seconds: float, duration: float) -> None:
        progress.advance(source.name, seconds, size * min(seconds / duration, 1.0))

    try:
        return localizer.encode_video(source.video, window=window, overlap=overlap, on_progress=show)
    finally:
        progress.close()


def _read_features(source: VideoSource) -> tuple[np.ndarray, float, FeatureRecipe | None]:
    """Rows, seconds and, where known, recipe of a video in a feature file."""
    key = source.feature_key.replace("{vid}", source.name)
    with open_features(source.features) as file:
        recipe = FeatureRecipe.from_attributes(file.attrs, source.features)
        try:
            dataset = file.get(key)
            found = isinstance(dataset, h5py.Dataset)
            rows, stated = (np.asarray(dataset[()]), dataset.attrs.get("duration")) if found else (None, None)
        except DAMAGE as error:
            raise DataError(f"video {key!r} of the feature file {source.features} cannot be read ({error})") from error
    if rows is None:
        raise DataError(
            f"the feature file {source.features} has no video at {key!r}: correct the name, or --feature-key"
        )
    if source.duration is not None:
        return rows, source.duration, recipe
    if stated is not None:
        return rows, stated, recipe
    if source.is_file:
        from mmn.apps.video.decode import probe  # needs an optional library

        return rows, probe(source.video).duration, recipe
    raise ConfigError(f"{source.features} does not say how long {source.name} is: give --duration SECONDS")


def open_features(path: str) -> h5py.File:
    """An HDF5 file of features, opened to be read. Raises DataError where there is none, or it is damaged."""
    if not os.path.isfile(path):
        raise DataError(f"the feature file {path} does not exist: correct the path")
    try:
        return h5py.File(path, "r")
    except DAMAGE as error:
        raise DataError(f"the feature file {path} cannot be opened ({error}): fetch or make it again") from error
