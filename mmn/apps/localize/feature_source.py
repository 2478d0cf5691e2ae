"""The features of a video: given as rows, or extracted from its file as those were that the model was trained on."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.extraction.video_parts import OnFrame, told, video_parts
from mmn.apps.video.decode import Frame, probe
from mmn.data.annotations import LONGEST, SHORTEST
from mmn.data.features import checked_rows
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.attributes import plain_number
from mmn.utils.errors import CheckpointError, ConfigError, DataError

VideoInput = str | os.PathLike | np.ndarray | Tensor
"""A video file, or the feature rows [T0, D] of a video."""
Progress = Callable[[float, float], None]
"""Called with (seconds decoded, seconds of the video)."""


class GivenVideo(NamedTuple):
    """A video whose features are there, or can be made.

    Attributes:
        name: the video's, for messages and files.
        duration: seconds.
        rows: [T0, D] float32 where they are given; None where they are made of the file `path`.
        path: "" where rows are given.
    """

    name: str
    duration: float
    rows: np.ndarray | None
    path: str = ""


class FeatureSource:
    """Knows which features a model takes, and makes them of video files. Any number of threads may use it.

    Args:
        input_size: D.
        recipe: description of the features that the model was trained on; None where it is not known.
        extractor: makes the features of video files; by default the one that `recipe` describes, loaded when needed.
        backbone_weights: a name, a file or "random:SEED" for that one, where the recipe's weights are a file.
        device: place of that one.
        model_name: the model in messages.
        any_sampling: whether features of the recipe's network do at any rate and length of clips.
    Raises DataError where the extractor makes other features than the recipe's.
    """

    def __init__(
        self,
        input_size: int,
        recipe: FeatureRecipe | None = None,
        extractor: FeatureExtractor | None = None,
        backbone_weights: str | None = None,
        device: torch.device | str = "cpu",
        model_name: str = "the model",
        any_sampling: bool = False,
    ):
        self.input_size = input_size
        self.recipe = recipe
        self.model_name = model_name
        self.any_sampling = any_sampling
        self._backbone_weights = backbone_weights
        self._device = device
        self._extractor: FeatureExtractor | None = None
        self._lock = threading.Lock()
        if extractor is not None:
            self.use_extractor(extractor)

    def use_extractor(self, extractor: FeatureExtractor) -> None:
        """Make the features of video files by `extractor`; DataError where the model was trained on other features."""
        self.check_recipe(extractor.recipe, "those of the extractor")
        self._extractor = extractor

    def recipe_for(self, path: str) -> FeatureRecipe:
        """The recipe of the features that the video file `path` gets. Raises ConfigError where none can be made."""
        return self._extractor_for(path).recipe

    def check_recipe(self, recipe: FeatureRecipe, what: str) -> None:
        """Raise DataError where features of `recipe`, called `what`, are known to be others than the model's."""
        if not self.takes(recipe):
            raise DataError(
                f"{self.model_name} was trained on features of {self.recipe}, but {what} are {recipe}, which differs in "
                f"{self.recipe.differences(recipe)}: extract them by the model's recipe"
            )

    def takes(self, recipe: FeatureRecipe) -> bool:
        """Tell whether features of `recipe` are, as far as it is known, such as the model takes."""
        return self.recipe is None or recipe == (self.recipe.sampled_as(recipe) if self.any_sampling else self.recipe)

    def look_at(
        self,
        video: VideoInput,
        duration: float | None = None,
        recipe: FeatureRecipe | None = None,
        name: str | None = None,
    ) -> GivenVideo:
        """The video, before any features are made; arguments and errors as in `MomentLocalizer.encode_video`."""
        if isinstance(video, (str, os.PathLike)):
            path = os.fspath(video)
            if duration is not None or recipe is not None:
                raise ConfigError(
                    f"duration and recipe go with features, but {path} is the path of a video: leave them out"
                )
            self._extractor_for(path)
            seconds = probe(path).duration
            if not SHORTEST <= seconds <= LONGEST:
                raise DataError(f"{path} has a length of {seconds} seconds: there is no moment to find")
            return GivenVideo(name or Path(path).stem, seconds, None, path)
        if isinstance(video, Tensor):
            video = video.detach().cpu()
            video = (video.float() if video.is_floating_point() else video).numpy()  # NumPy has no bfloat16
        if not isinstance(video, np.ndarray):
            raise ConfigError(
                f"a video is the path of a file, or features [rows, {self.input_size}] as a NumPy array or a tensor, "
                f"not a {type(video).__name__}"
            )
        name = name or "the video"
        if duration is None:
            raise ConfigError(f"features say nothing of time: give the duration of {name} in seconds with them")
        seconds = plain_number(duration)
        if seconds is None or not SHORTEST <= seconds <= LONGEST:
            raise DataError(f"{name} has a duration of {duration!r} seconds: it must be a finite number above 0")
        if recipe is not None:
            self.check_recipe(recipe, f"the features of {name}")
        return GivenVideo(name, float(seconds), checked_rows(video, self.input_size, name))

    def rows(self, video: GivenVideo, on_progress: Progress | None) -> np.ndarray:
        """All feature rows [T0, D] of a video. Raises DataError where its file cannot be decoded."""
        if video.rows is not None:
            return video.rows
        extractor, on_frame = self._extractor_for(video.path), _on_frame(video, on_progress)
        frames = told(extractor.frames(video.path), on_frame)
        return self._checked(np.concatenate(list(extractor.encode(frames, video.path))), video.path)

    def parts(self, video: GivenVideo, first: int, on_progress: Progress | None) -> Iterator[np.ndarray]:
        """The feature rows of a video file in parts, see `video_parts`."""
        extractor = self._extractor_for(video.path)
        for rows in video_parts(extractor, video.path, first, _on_frame(video, on_progress)):
            yield self._checked(rows, video.path)

    def _checked(self, rows: np.ndarray, path: str) -> np.ndarray:
        return checked_rows(rows, self.input_size, f"what the extractor makes of {path}")

    def _extractor_for(self, path: str) -> FeatureExtractor:
        with self._lock:
            if self._extractor is None and self.recipe is None:
                raise ConfigError(
                    f"{self.model_name} does not say which features it was trained on, so {path} cannot be turned into "
                    "them: give the video's features, or the extractor that makes them (--features, or --backbone or "
                    "--recipe, on the command line)"
                )
            if self._extractor is None:
                self._extractor = self._recipe_extractor()
            return self._extractor

    def _recipe_extractor(self) -> FeatureExtractor:
        try:
            return FeatureExtractor.from_recipe(self.recipe, self._backbone_weights, device=self._device)
        except (ConfigError, CheckpointError) as error:
            raise ConfigError(
                f"the features that {self.model_name} was trained on cannot be extracted here: {error} "
                "(backbone_weights= in Python, --backbone-weights on the command line)"
            ) from error


def _on_frame(video: GivenVideo, on_progress: Progress | None) -> OnFrame:
    def tell(frame: Frame) -> None:
        if on_progress is not None:
            on_progress(frame.time, video.duration)

    return tell
