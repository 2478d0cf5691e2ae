"""The form in which an index holds a video, and itself: moments and vectors of an encoded video, and a description."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.identity import model_identity
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.search.index_types import IndexInfo, VideoMoments
from mmn.apps.search.pruning import kept_moments
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import ConfigError


@dataclass(frozen=True)
class BuildSettings:
    """The way the moments of an index are made, one for all its videos.

    Attributes:
        window, overlap: seconds, see `MomentLocalizer.encode_video`.
        prune: the least cosine of `mmn.apps.search.pruning.kept_moments`; None keeps all moments.
    Raises ConfigError where `prune` is no cosine that could be one of different moments.
    """

    window: float | None = None
    overlap: float | None = None
    prune: float | None = None

    def __post_init__(self):
        if self.prune is not None and not 0 < self.prune <= 1:
            raise ConfigError(
                f"moments are pruned from a cosine of {self.prune} on: it must lie above 0 and at most at 1"
            )

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)

    @classmethod
    def of(cls, build: Mapping[str, Any]) -> "BuildSettings":
        """The settings in `IndexInfo.build`; what it does not say was left out."""
        return cls(build.get("window"), build.get("overlap"), build.get("prune"))


def index_info(
    localizer: MomentLocalizer,
    settings: BuildSettings | None = None,
    recipe: FeatureRecipe | None = None,
    identity: str | None = None,
) -> IndexInfo:
    """The description of a new index of this model.

    Args:
        recipe: description of its videos' features; by default the model's own.
        identity: `model_identity` of the model, where it is known already: to hash the weights takes a while.
    """
    recipe, path = recipe or localizer.recipe, localizer.path
    return IndexInfo(
        dim=localizer.joint_space_size,
        model=identity or model_identity(localizer.encoder),
        model_name=os.path.abspath(path) if os.path.exists(path) else path or localizer.source,
        recipe=None if recipe is None else json.loads(json.dumps(recipe.to_dict())),
        build=(settings or BuildSettings()).to_dict(),
    )


def video_moments(
    encoded: EncodedVideo, settings: BuildSettings, source: str = "", path: str = "", video_id: str | None = None
) -> VideoMoments:
    """An encoded video as an index holds it; by default its id is the video's name."""
    vectors = (encoded.moments_contrastive, encoded.moments_iou)
    return pack_moments(video_id or encoded.name, encoded.duration, encoded.moments, vectors, settings, source, path)


def pack_moments(
    video_id: str,
    duration: float,
    moments: Tensor,
    vectors: tuple[Tensor, Tensor],
    settings: BuildSettings,
    source: str = "",
    path: str = "",
) -> VideoMoments:
    """All windows' moments [W, M, 2] and their vectors (contrastive, iou), each [W, M, C], as an index holds them."""
    seconds = moments.cpu().numpy()
    contrastive, iou = (vector.half().cpu().numpy() for vector in vectors)
    columns = [part.reshape(-1, part.shape[-1]) for part in (seconds, contrastive, iou)]
    if settings.prune is not None:
        kept = kept_moments(seconds, (contrastive, iou), settings.prune)
        columns = [part[kept] for part in columns]
    return VideoMoments(video_id, duration, *columns, source, path)
