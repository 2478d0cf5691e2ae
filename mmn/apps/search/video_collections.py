"""The collections that the videos of an index come from: a file of features, or video files."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import h5py
import numpy as np

from mmn.apps.extraction.video_files import VideoFile, list_videos
from mmn.apps.localize.encoded_video import PreparedVideo
from mmn.apps.localize.identity import features_source, file_source
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.search.indexed_video import BuildSettings
from mmn.data.annotation_files import read_durations
from mmn.data.annotations import VideoAnnotation
from mmn.data.feature_tracks import FeatureTracks
from mmn.data.features import FeatureFile
from mmn.structures.recipe import FeatureRecipe
from mmn.structures.rows_id import VID
from mmn.utils.errors import ConfigError, DataError, failed_read
from mmn.utils.hdf5 import reading


class VideoCollection(ABC):
    """Videos that are to be in an index.

    Attributes:
        recipe: description of their features, where it is known.
    """

    recipe: FeatureRecipe | None

    @abstractmethod
    def videos(self) -> list[VideoFile]:
        """The videos in the order of the index; a size is only ever compared with the others'."""

    @abstractmethod
    def load(
        self, video: VideoFile, localizer: MomentLocalizer, settings: BuildSettings, known: str | None
    ) -> tuple[PreparedVideo | None, str]:
        """The video, ready for the network, and its source, see `VideoMoments`.

        It is None where the source is still the `known` one. Raises DataError where the video cannot be used.
        """

    def close(self) -> None:  # noqa: B027, not all hold files
        """Let go of files."""


class FeatureCollection(VideoCollection):
    """The videos of an HDF5 file of features.

    Args:
        feature_key: place of a video's rows in the file, with {vid} for its id.
        input_size: D.
        annotations: a file that says how long the videos are, and which ones are meant, see `read_durations`; without it
            they are all that are in the file, and a dataset's attribute `duration` says it.
    Raises DataError for files that are not like that.
    """

    def __init__(self, path: str, feature_key: str, input_size: int, annotations: str | None = None):
        if VID not in feature_key:
            raise ConfigError(f"--feature-key is {feature_key!r}: it must have {VID} in it, where a video's id stands")
        self.file = FeatureFile(path, feature_key, input_size)
        self.annotations = annotations
        self.durations = None if annotations is None else read_durations(annotations)
        self.recipe = self.file.recipe()

    def videos(self) -> list[VideoFile]:
        with reading(f"the feature file {self.file.path}"):
            ids = self._ids() if self.durations is None else list(self.durations)
            videos = [VideoFile(video_id, "", self._size(video_id)) for video_id in ids]
        if not any(video.size for video in videos):
            raise DataError(
                f"the feature file {self.file.path} has no video under {self.file.feature_key!r}"
                + ("" if self.annotations is None else f" that {self.annotations} names")
                + ": correct --feature-key, or the files"
            )
        if self.durations is None:
            self._duration(next(video.video_id for video in videos if video.size))
        self.file.close()
        return videos

    def _ids(self) -> list[str]:
        """All names that {vid} may stand for."""
        before, _, after = self.file.feature_key.partition(VID)
        folder, _, prefix = before.rpartition("/")
        name, slash, rest = after.partition("/")
        group = self.file.open().get(folder or "/")
        names = list(group) if isinstance(group, h5py.Group) else []
        return [
            found[len(prefix) : len(found) - len(name)]
            for found in names
            if found.startswith(prefix) and found.endswith(name) and len(found) > len(prefix) + len(name)
        ]

    def _size(self, video_id: str) -> int:
        dataset = self.file.open().get(self.file.feature_key.replace(VID, video_id))
        return int(dataset.size) if isinstance(dataset, h5py.Dataset) else 0

    def _duration(self, video_id: str) -> float:
        if self.durations is not None:
            return self.durations[video_id]
        stated = self.file.duration(video_id)
        if stated is None:
            raise DataError(
                f"the feature file {self.file.path} does not say how long {video_id} is: give the annotation file that "
                "does, by --annotations"
            )
        return stated

    def close(self) -> None:
        self.file.close()

    def load(
        self, video: VideoFile, localizer: MomentLocalizer, settings: BuildSettings, known: str | None
    ) -> tuple[PreparedVideo | None, str]:
        rows, duration = self.file.read(video.video_id), self._duration(video.video_id)
        return prepare_rows(video.video_id, rows, duration, self.recipe, localizer, settings, known)


class SplitCollection(VideoCollection):
    """The annotated videos of a split.

    Args:
        features: their feature tracks.
    """

    def __init__(self, annotations: Sequence[VideoAnnotation], features: FeatureTracks):
        self.features = features
        self.durations = {video.video_id: video.duration for video in annotations}
        recipe = features.recipe()
        self.recipe = None if recipe is None else recipe.extraction

    def videos(self) -> list[VideoFile]:
        return [VideoFile(video_id, "", math.ceil(duration)) for video_id, duration in self.durations.items()]

    def close(self) -> None:
        self.features.close()

    def load(
        self, video: VideoFile, localizer: MomentLocalizer, settings: BuildSettings, known: str | None
    ) -> tuple[PreparedVideo | None, str]:
        rows, duration = self.features.read(video.video_id), self.durations[video.video_id]
        return prepare_rows(video.video_id, rows, duration, self.recipe, localizer, settings, known)


def prepare_rows(
    video_id: str,
    rows: np.ndarray,
    duration: float,
    recipe: FeatureRecipe | None,
    localizer: MomentLocalizer,
    settings: BuildSettings,
    known: str | None,
) -> tuple[PreparedVideo | None, str]:
    """Feature rows [T0, D] of a video, ready for the network, and their source; see `VideoCollection.load`."""
    source = features_source(rows, duration)
    if source == known:
        return None, source
    return localizer.prepare_video(rows, duration, settings.window, settings.overlap, recipe, video_id), source


class FileCollection(VideoCollection):
    """Video files, and folders of them, whose features the localizer's extractor makes.

    Raises DataError where there are none, ConfigError where no features can be made.
    """

    def __init__(self, paths: Sequence[str], localizer: MomentLocalizer, keep_extension: bool = False):
        self._files = list_videos(paths, keep_extension)
        self.recipe = localizer.extraction_recipe(self._files[0].path)

    def videos(self) -> list[VideoFile]:
        return [VideoFile(video.video_id, os.path.abspath(video.path), video.size) for video in self._files]

    def load(
        self, video: VideoFile, localizer: MomentLocalizer, settings: BuildSettings, known: str | None
    ) -> tuple[PreparedVideo | None, str]:
        try:
            source = file_source(video.path, self.recipe)
        except OSError as error:
            raise DataError(
                f"the video {video.path} cannot be read ({failed_read(error)}): correct the path"
            ) from error
        if source == known:
            return None, source
        window, overlap = settings.window, settings.overlap
        return localizer.prepare_video(video.path, window=window, overlap=overlap, name=video.video_id), source
