"""The convolutions over MMN's proposal map with batch norm, and the two heads that project into the joint space.

Shapes: see the legend in `mmn.modeling`. `ProposalConv.dense_maps` is the readable definition, on N x N maps (SPEC
section 2, `proposal_conv`).
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from mmn.modeling.map_conv import MapConv
from mmn.structures.proposals import ProposalCells


class ProposalConv(MapConv):
    """L x (convolution, batch norm, ReLU, window weight), then a 1x1 convolution per head.

    Args:
        joint_space_size: C.
        shared_heads: `conv1x1_iou` makes the vectors of both joint spaces.
        cells, input_size, hidden_size, kernel_size, num_layers, impl, batch_norm, options: see `MapConv`.
    """

    def __init__(
        self,
        cells: ProposalCells,
        input_size: int,
        hidden_size: int,
        kernel_size: int,
        num_layers: int,
        joint_space_size: int,
        impl: str = "auto",
        shared_heads: bool = False,
        batch_norm: str = "process",
        **options,
    ):
        super().__init__(
            cells, input_size, hidden_size, kernel_size, num_layers, impl, batch_norm=batch_norm, **options
        )
        self.conv1x1_iou = nn.Conv2d(hidden_size, joint_space_size, 1)
        self.conv1x1_contrastive = None if shared_heads else nn.Conv2d(hidden_size, joint_space_size, 1)

    def forward(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the valid cells [B, H, M] -> joint-space features (contrastive, iou), each [B, M, C]."""
        features = self.features(packed)
        return self._both_heads(lambda head: per_cell(head, features))

    def _both_heads(self, apply: Callable[[nn.Conv2d], Tensor]) -> tuple[Tensor, Tensor]:
        """`apply` of the contrastive and of the IoU head."""
        if self.conv1x1_contrastive is None:
            both = apply(self.conv1x1_iou)
            return both, both
        return apply(self.conv1x1_contrastive), apply(self.conv1x1_iou)

    def dense_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Proposal map [B, H, N, N], zero outside the valid cells -> (contrastive, iou), each [B, C, N, N].

        The outputs are not masked: cells outside the valid ones hold values that no score uses.
        """
        features = self.dense_features(x)
        return self._both_heads(lambda head: head(features))


def per_cell(head: nn.Conv2d, features: Tensor) -> Tensor:
    """A 1x1 convolution applied to packed features [..., M, H] -> [..., M, C]."""
    return F.linear(features, head.weight.flatten(1), head.bias)
