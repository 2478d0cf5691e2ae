"""The types that an index of moments holds and gives back, whichever store keeps it.

An index holds the moments of many videos as vectors that a sentence's can be compared with. Shapes: Q queries, k hits of
each, M moments of a video, C the width of the joint space, that of JOINT_SPACE_SIZE.
"""

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from mmn.utils.errors import ConfigError, DataError

FORMAT = 1  # of what stores write; another one is refused


@dataclass(frozen=True, eq=False)
class VideoMoments:
    """One video as an index holds it.

    Attributes:
        video_id: unique in an index.
        duration: seconds.
        moments: [M, 2] float32, start and end in seconds.
        contrastive, iou: [M, C] float16, the moments' unit vectors in the two joint spaces.
        source: tells one state of what the vectors were made of from another: a video whose source has not changed need
            not be encoded again.
        path: the video file; "" where it was encoded from features.
    Raises DataError where the arrays do not go together.
    """

    video_id: str
    duration: float
    moments: np.ndarray = field(repr=False)
    contrastive: np.ndarray = field(repr=False)
    iou: np.ndarray = field(repr=False)
    source: str = ""
    path: str = ""

    def __post_init__(self):
        count, shape = len(self.moments), self.contrastive.shape
        is_whole = self.moments.shape == (count, 2) and len(shape) == 2 and shape[0] == count == len(self.iou)
        if not is_whole or self.iou.shape != shape or not count:
            raise DataError(
                f"video {self.video_id} has moments of shape {list(self.moments.shape)} and vectors of shapes "
                f"{list(shape)} and {list(self.iou.shape)}: an index takes [M, 2] and twice [M, C], with M > 0"
            )
        if not all(np.isfinite(part).all() for part in (self.moments, self.contrastive, self.iou)):
            raise DataError(f"video {self.video_id} has moments or vectors that are not finite: encode it again")

    def vectors(self, head: str) -> np.ndarray:
        """[M, C] of one of `mmn.structures.query_vectors.HEADS`."""
        return {"contrastive": self.contrastive, "iou": self.iou}[head]

    @property
    def entry(self) -> "VideoEntry":
        return VideoEntry(self.duration, len(self.moments), self.source, self.path)


@dataclass(frozen=True)
class VideoEntry:
    """A video in an index's list; see `VideoMoments`."""

    duration: float
    num_moments: int
    source: str = ""
    path: str = ""


@dataclass(frozen=True)
class IndexInfo:
    """The description of an index. All of it is plain values, so that it goes to json.

    Attributes:
        dim: C.
        model: `mmn.apps.localize.identity.model_identity` of the model that the vectors are from.
        model_name: the place where that model was, for messages.
        recipe: description of the features, as plain values (`FeatureRecipe.to_dict`); None where it is not known.
        build: the way the moments were made: windows, pruning.
        calibration: values that turn a score into confidence, see `Calibration`; None until they are measured.
        format: FORMAT of when it was written.
    """

    dim: int
    model: str
    model_name: str
    recipe: dict[str, Any] | None = None
    build: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], place: str) -> "IndexInfo":
        """Raises DataError where these are not an index's words, or another format's; `place` is for messages."""
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise DataError(
                f"the index {place} has format {values['format']}, but this version reads {FORMAT}: build it again, or "
                "use the version that built it"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise DataError(f"the description of the index {place} is damaged ({error}): build it again") from error

    def with_calibration(self, calibration: dict[str, Any] | None) -> "IndexInfo":
        return replace(self, calibration=calibration)


@dataclass(frozen=True)
class MomentFilter:
    """The moments that a search considers.

    Attributes:
        videos: ids; None for all.
        min_length, max_length: seconds, both inclusive.
    Raises ConfigError where no moment could pass.
    """

    videos: Collection[str] | None = None
    min_length: float = 0.0
    max_length: float = math.inf

    def __post_init__(self):
        if isinstance(self.videos, str):
            raise ConfigError(f"the videos to search are {self.videos!r}: give a list of ids")
        if self.videos is not None and not self.videos:
            raise ConfigError("the list of videos to search is empty: name some, or leave it out to search all")
        if not 0 <= self.min_length <= self.max_length:
            raise ConfigError(
                f"moments of {self.min_length} to {self.max_length} seconds: no moment is like that, correct the lengths"
            )

    @property
    def is_open(self) -> bool:
        """True where every moment passes."""
        return self.videos is None and self.min_length == 0 and math.isinf(self.max_length)

    def passes(self, moments: np.ndarray) -> np.ndarray:
        """[M] bool for moments [M, 2]: whether their length does."""
        lengths = moments[:, 1] - moments[:, 0]
        return (lengths >= self.min_length) & (lengths <= self.max_length)


@dataclass(frozen=True, eq=False)
class Hits:
    """The k nearest moments of each of Q queries in the space of one head, best first. Places from counts[q] on are empty.

    Attributes:
        counts: [Q] int64, how many of the k there are.
        videos: [Q, k] object, video ids; "" where empty.
        moments: [Q, k, 2] float32 seconds; 0 where empty.
        contrastive, iou: [Q, k] float32, the moments' cosines with the query in the two spaces; -1 where empty.
    """

    counts: np.ndarray
    videos: np.ndarray
    moments: np.ndarray
    contrastive: np.ndarray
    iou: np.ndarray

    @classmethod
    def empty(cls, num_queries: int, k: int) -> "Hits":
        """Places for k hits of each query, to be filled."""
        return cls(
            np.zeros(num_queries, np.int64),
            np.full((num_queries, k), "", object),
            np.zeros((num_queries, k, 2), np.float32),
            np.full((num_queries, k), -1, np.float32),
            np.full((num_queries, k), -1, np.float32),
        )

    def cosines(self, head: str) -> np.ndarray:
        """[Q, k] of one of `mmn.structures.query_vectors.HEADS`."""
        return {"contrastive": self.contrastive, "iou": self.iou}[head]
