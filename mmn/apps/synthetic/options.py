"""Size and difficulty of made data. Nothing here takes time to import, so that a command line can show the defaults."""

import math
from dataclasses import dataclass

from mmn.apps.synthetic.option_checks import check_above_zero, check_not_negative
from mmn.config.distributed import LAYOUTS
from mmn.utils.errors import ConfigError, unknown_choice

MIN_FRAMES = 32  # of a rendered video, in which the shortest action, 6% of them, is a frame long at least


@dataclass(frozen=True)
class SyntheticOptions:
    """Size and difficulty of the dataset.

    num_train, num_val, num_test: videos per split, each with 3 to 6 sentences.
    dim: feature width D.
    seed: random seed of everything; a video depends on the seed, its split and its index only, not on the number of videos.
    rows_per_second: feature rows per second of video, T0 = ceil(duration * rows_per_second).
    noise: expected L2 norm of the noise of one row; a concept's vector has norm 1.
    background: L2 norm of the video's own constant vector, which lies under all of its rows.
    """

    num_train: int = 400
    num_val: int = 60
    num_test: int = 80
    dim: int = 64
    seed: int = 0
    rows_per_second: float = 2.0
    noise: float = 1.0
    background: float = 0.7

    def __post_init__(self):
        what = "the synthetic dataset"
        check_above_zero(self, ("num_train", "num_val", "num_test", "dim", "rows_per_second"), what)
        check_not_negative(self, ("seed", "noise", "background"), what)


@dataclass(frozen=True)
class SyntheticStvgOptions:
    """Size and difficulty of the dataset.

    num_train, num_val, num_test: videos per split, one sentence each.
    dim: width of each of the two feature tracks.
    seed: random seed of everything; a video depends on the seed, its split and its index only.
    noise: expected L2 norm of the noise of one row of a track; a concept's vector has norm 1.
    """

    num_train: int = 400
    num_val: int = 60
    num_test: int = 100
    dim: int = 32
    seed: int = 0
    noise: float = 0.7

    def __post_init__(self):
        what = "the synthetic dataset"
        check_above_zero(self, ("num_train", "num_val", "num_test", "dim"), what)
        check_not_negative(self, ("seed", "noise"), what)


@dataclass(frozen=True)
class ShapeOptions:
    """Size of the dataset.

    num_train, num_val, num_test: videos per split, each with 3 to 5 sentences.
    size: height and width of the videos in pixels.
    fps: frames per second of the videos.
    min_seconds, max_seconds: the shortest and the longest video.
    seed: random seed of everything; a video depends on the seed, its split and its index only, not on the number of videos.
    workers: threads that render; they do not change the files.
    """

    num_train: int = 400
    num_val: int = 50
    num_test: int = 80
    size: int = 128
    fps: float = 8.0
    min_seconds: float = 12.0
    max_seconds: float = 24.0
    seed: int = 0
    workers: int = 1

    def __post_init__(self):
        what = "the rendered dataset"
        check_above_zero(self, ("num_train", "num_val", "num_test", "fps", "workers"), what)
        check_not_negative(self, ("seed",), what)
        if self.size < 16 or self.size % 2:
            raise ConfigError(f"the rendered dataset's size cannot be {self.size}: give an even number from 16 on")
        if not MIN_FRAMES / self.fps <= self.min_seconds <= self.max_seconds:
            raise ConfigError(
                f"the rendered dataset's videos cannot last {self.min_seconds} to {self.max_seconds} s at {self.fps} fps: "
                f"give {MIN_FRAMES} frames at least, the shorter first"
            )


@dataclass(frozen=True)
class SimulationOptions:
    """The way the features are made.

    dim: feature width D.
    noise: expected L2 norm of the noise of one row; the signal of one moment has norm 1.
    fps: feature rows per second, T0 = max(1, ceil(duration * fps)).
    seed: random seed of word vectors and noise.
    feature_key: place of a video's dataset in the file, "{vid}" being its id.
    """

    dim: int
    noise: float
    fps: float = 1.0
    seed: int = 0
    feature_key: str = "{vid}"

    def __post_init__(self):
        if self.dim < 1:
            raise ConfigError(f"the simulated features cannot have {self.dim} dimensions: ask for at least 1")
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise ConfigError(f"the noise of the simulated features cannot be {self.noise}: give a number from 0 up")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"the simulated features cannot have {self.fps} rows per second: give a number above 0")
        if self.seed < 0:
            raise ConfigError(f"the seed cannot be {self.seed}: give a whole number from 0 up")
        if "{vid}" not in self.feature_key:
            raise ConfigError(f"the feature key {self.feature_key!r} names no video: put {{vid}} where its id belongs")


@dataclass(frozen=True)
class LayoutOptions:
    """The layout that simulated features are written in, and the way they are made.

    layout: one of `mmn.config.distributed.LAYOUTS`.
    dataset: one of its datasets.
    noise: expected L2 norm of the noise of one row; the signal of one moment has norm 1.
    seed: random seed of word vectors and noise.
    """

    layout: str
    dataset: str
    noise: float
    seed: int = 0

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise unknown_choice("--layout", self.layout, LAYOUTS)
        if self.dataset not in LAYOUTS[self.layout].datasets:
            raise unknown_choice(f"--dataset of the layout {self.layout}", self.dataset, LAYOUTS[self.layout].datasets)
        SimulationOptions(1, self.noise, seed=self.seed)  # refuses what cannot be
