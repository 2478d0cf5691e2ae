"""Source of batch norm's statistics: MODEL.MMN.PREDICTOR.BATCH_NORM.

All kinds have the parameters and buffers of `nn.BatchNorm2d`, so weights of one load into another. How the fast form of
the convolutions applies them is in `mmn.modeling.fast.packed_batch_norm`.
"""

import torch
from torch import Tensor, nn

from mmn.utils import comm


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Normalises by its running statistics, in training too, and leaves them as they are; scale and shift train."""

    def __init__(self, num_features: int):
        super().__init__(num_features)
        self.training = False

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        """Stay in evaluation mode."""
        return super().train(False)


class BatchwiseNorm2d(nn.BatchNorm2d):
    """Normalises by the batch at hand, in evaluation too; its running statistics are neither used nor changed."""

    def __init__(self, num_features: int):
        super().__init__(num_features)
        self.track_running_stats = False  # the buffers stay, so that the state dict is the common one

    def train(self, mode: bool = True) -> "BatchwiseNorm2d":
        """Stay in training mode."""
        return super().train(True)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Normalises by the statistics of all processes' batches, with gradients through them.

    Unlike `nn.SyncBatchNorm` it also works between CPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape; called on all processes."""
        if not self.training or comm.get_world_size() == 1:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = values.new_full((1,), values[:, 0].numel())
        *sums, total = comm.sum_with_gradient(torch.cat([values.sum((0, 2, 3)), count])).split([x.shape[1], 1])
        mean = (sums[0] / total)[:, None, None]
        variance = comm.sum_with_gradient((values - mean).square().sum((0, 2, 3))) / total
        update_running_statistics(self, mean.flatten(), variance, total)
        scale = (self.weight * torch.rsqrt(variance + self.eps))[:, None, None]
        return ((values - mean) * scale + self.bias[:, None, None]).to(x.dtype)


@torch.no_grad()
def update_running_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, total: int | Tensor) -> None:
    """Move the running statistics as `nn.BatchNorm2d` does in training; `variance` is the biased one of `total` values."""
    if not (norm.training and norm.track_running_stats):
        return
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
    norm.running_var.lerp_((variance * (total / (total - 1))).to(norm.running_var), momentum)


BATCH_NORMS = {
    "process": nn.BatchNorm2d,
    "sync": SyncedBatchNorm2d,
    "frozen": FrozenBatchNorm2d,
    "batch": BatchwiseNorm2d,
}
