"""Resampled source clips -> the N clips of the proposal map."""

from torch import Tensor, nn
from torch.nn import functional as F


class FeatAvgPool(nn.Module):
    """1x1 convolution, ReLU and average pooling over time (SPEC section 2, `featpool`)."""

    def __init__(self, input_size: int, hidden_size: int, kernel_size: int, stride: int):
        super().__init__()
        self.conv = nn.Conv1d(input_size, hidden_size, kernel_size=1)
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, P, D] -> clips [B, H, N]."""
        return average_clips(self.conv, feats, self.kernel_size, self.stride)


def average_clips(conv: nn.Conv1d, feats: Tensor, kernel_size: int, stride: int) -> Tensor:
    """feats [B, P, D], through a 1x1 convolution and ReLU, averaged to clips [B, H, N]."""
    return F.avg_pool1d(conv(feats.transpose(1, 2)).relu(), kernel_size, stride)
