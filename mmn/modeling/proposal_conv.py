"""The masked convolution stack over the proposal map, and the two heads that project into the joint space.

Shapes: see the legend in `mmn.modeling`. This is the readable definition, on dense N x N maps (SPEC section 2,
`proposal_conv`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmn.structures.proposals import ProposalCells


def window_weights(mask: Tensor, kernel_size: int, num_layers: int) -> list[Tensor]:
    """The factor w of every layer: one over the number of valid cells in the window, 0 where there is none.

    The cells with w > 0 are the valid cells of the next layer's input.

    Args:
        mask: [N, N] bool, the valid cells of the first layer's input, before its padding.
    Returns:
        one float32 map per layer, of that layer's output size; the last is [N, N].
    """
    valid = mask.float()[None, None]
    window = valid.new_ones(1, 1, kernel_size, kernel_size)
    weights = []
    for layer in range(num_layers):
        padding = first_padding(kernel_size, num_layers) if layer == 0 else 0
        count = F.conv2d(valid, window, padding=padding).round()
        weights.append(torch.where(count > 0, 1 / count.clamp(min=1), torch.zeros_like(count))[0, 0])
        valid = (count > 0).float()
    return weights


def first_padding(kernel_size: int, num_layers: int) -> int:
    """Padding of layer 0; the other layers have none, so the map is back at N x N after the last."""
    return (kernel_size - 1) * num_layers // 2


class ProposalConv(nn.Module):
    """L x (convolution, batch norm, ReLU, window weight), then a 1x1 convolution per head."""

    def __init__(
        self,
        cells: ProposalCells,
        input_size: int,
        hidden_size: int,
        kernel_size: int,
        num_layers: int,
        joint_space_size: int,
    ):
        super().__init__()
        self.cells = cells
        self.num_layers = num_layers
        # The order of the modules is the order of the parameters in released optimizer states.
        self.bn = nn.ModuleList(nn.BatchNorm2d(hidden_size) for _ in range(num_layers))
        self.convs = nn.ModuleList(
            nn.Conv2d(
                hidden_size if layer else input_size,
                hidden_size,
                kernel_size,
                padding=0 if layer else first_padding(kernel_size, num_layers),
            )
            for layer in range(num_layers)
        )
        self.conv1x1_iou = nn.Conv2d(hidden_size, joint_space_size, 1)
        self.conv1x1_contrastive = nn.Conv2d(hidden_size, joint_space_size, 1)
        for layer, weight in enumerate(window_weights(cells.mask, kernel_size, num_layers)):
            self.register_buffer(f"window_weight_{layer}", weight, persistent=False)

    def forward(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the valid cells [B, H, M] -> joint-space features (contrastive, iou), each [B, M, C]."""
        contrastive, iou = self.dense_maps(self.cells.to_map(packed))
        return self.cells.from_map(contrastive).mT, self.cells.from_map(iou).mT

    def dense_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Proposal map [B, H, N, N], zero outside the valid cells -> (contrastive, iou), each [B, C, N, N].

        The outputs are not masked: cells outside the valid ones hold values that no score uses.
        """
        for layer in range(self.num_layers):
            # Batch statistics are over all cells of the padded map, the zero ones too: the released weights
            # were trained so.
            x = self.bn[layer](self.convs[layer](x)).relu()
            x = x * getattr(self, f"window_weight_{layer}")
        return self.conv1x1_contrastive(x), self.conv1x1_iou(x)
