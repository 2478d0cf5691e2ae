"""The interface of a backbone: a network, how pictures are prepared for it, and the sampling it is usually used with."""

from typing import ClassVar

from torch import Tensor, nn

from mmn.apps.extraction.backbone_weights import Weights
from mmn.apps.extraction.frame_transform import FrameTransform
from mmn.apps.extraction.usual_sampling import UsualSampling
from mmn.utils.checkpoint import load_checkpoint, load_weights
from mmn.utils.registry import Registry

BACKBONES = Registry("--backbone")


class Backbone(nn.Module):
    """Base class. A backbone is built from `(weights, layer)` and then only ever evaluated.

    Class attributes:
        usual: its layers, and the sampling that it is used with unless asked otherwise.
        takes_clips: whether it sees clips [B, 3, L, h, w]; otherwise it sees single frames [B, 3, h, w].
        fixed_clip_length: the only clip length that its architecture takes, where there is one.
        default_weights: a name, where there are usual ones.
        library: the package that the architecture comes from, where it is not this one.

    Attributes:
        transform: prepares a picture.
        dim: D, the width of a feature row.
    """

    usual: ClassVar[UsualSampling]
    takes_clips: ClassVar[bool] = False
    fixed_clip_length: ClassVar[int | None] = None
    default_weights: ClassVar[str | None] = None
    library: ClassVar[str | None] = None

    transform: FrameTransform
    dim: int

    def __init__(self, weights: Weights, layer: str):
        super().__init__()

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised frames [B, 3, h, w], or clips [B, 3, L, h, w] -> [B, D] float32."""
        raise NotImplementedError


def load_file(model: nn.Module, path: str, unused: tuple[str, ...], source: str) -> None:
    """Load a file of weights strictly, but for the layers behind the features.

    Args:
        unused: first parts of the names of those layers' weights.
        source: a description of such a file, for the message.
    Raises CheckpointError naming what is missing, extra or of another shape.
    """
    weights = {name: value for name, value in load_checkpoint(path)["model"].items() if not name.startswith(unused)}
    load_weights(model, weights, path, remedy=f"give {source}")
