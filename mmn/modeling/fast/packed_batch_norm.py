"""Batch norm, ReLU and window weight on packed cells, with the statistics of the whole padded map.

The definition normalises over ALL cells of a layer's output map, of which most are skipped here. Their value is
known: no valid input is in their window, so it is the convolution's bias. The bias cancels in the normalisation, so
everything is computed without it: the skipped cells are zeros, and only enter the counts.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmn.modeling.batch_norm import SyncedBatchNorm2d, update_running_statistics
from mmn.utils import comm


def batch_statistics(cells: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel, [C] each, of [cells, B, C] and zeros up to `total` values per channel."""
    num_zeros = total - cells.shape[0] * cells.shape[1]
    mean = cells.sum((0, 1)) / total
    squares = (cells - mean).square_().sum((0, 1))
    return mean, (squares + num_zeros * mean.square()) / total


def statistics_of_all_processes(cells: Tensor, total: int) -> tuple[Tensor, Tensor, Tensor]:
    """`batch_statistics` over the batches of all processes, and how many values per channel that are, [1]."""
    num_zeros = total - cells.shape[0] * cells.shape[1]
    sums = torch.cat([cells.sum((0, 1)), cells.new_full((1,), total)])
    sums, total_of_all = comm.sum_over_processes(sums).split([cells.shape[2], 1])
    mean = sums / total_of_all
    squares = (cells - mean).square_().sum((0, 1)) + num_zeros * mean.square()
    return mean, comm.sum_over_processes(squares) / total_of_all, total_of_all


def uses_batch_statistics(norm: nn.BatchNorm2d | None) -> bool:
    """Tell whether `norm` normalises by the batch at hand (as against its running statistics, or not at all)."""
    return norm is not None and (norm.training or norm.running_mean is None)


class NormReluWeight(torch.autograd.Function):
    """relu(gamma * (cells - mean) / std + beta) * weight, by given batch statistics of the same cells.

    The gradient includes the way through the statistics. That of the convolution's bias is zero: the bias enters only
    here, where it cancels. It is an argument so that it gets this zero.

    Args:
        cells: [cells, B, C] convolution outputs without bias.
        bias, gamma, beta, mean, variance: [C].
        weight: [cells, 1, 1], positive.
        total: number of values per channel behind mean and variance.
        synced: whether mean and variance are those of all processes' cells.
    Returns:
        [cells + 1, B, C], the last row zero.
    """

    @staticmethod
    def forward(
        ctx: Any,
        cells: Tensor,
        bias: Tensor,
        gamma: Tensor,
        beta: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor,
        eps: float,
        total: int | Tensor,
        synced: bool,
    ) -> Tensor:
        scale = gamma * torch.rsqrt(variance + eps)
        result = cells.new_empty(len(cells) + 1, *cells.shape[1:])
        result[-1] = 0
        torch.addcmul(beta - mean * scale, cells, scale, out=result[:-1])
        result[:-1].relu_().mul_(weight)
        ctx.save_for_backward(cells, result, gamma, mean, variance, weight)
        ctx.eps, ctx.total, ctx.synced = eps, total, synced
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cells, result, gamma, mean, variance, weight = ctx.saved_tensors
        inverse_std = torch.rsqrt(variance + ctx.eps)
        grad = torch.ops.aten.threshold_backward(grad[:-1] * weight, result[:-1], 0)
        normalised = (cells - mean).mul_(inverse_std)
        grad_beta, grad_gamma = grad.sum((0, 1)), (grad * normalised).sum((0, 1))
        # Through the statistics, the losses of all processes that share them reach these cells.
        shared = torch.stack([grad_gamma, grad_beta])
        shared = (comm.sum_over_processes(shared) if ctx.synced else shared) / ctx.total
        normalised.mul_(-shared[0]).sub_(shared[1]).add_(grad).mul_(gamma * inverse_std)
        return normalised, torch.zeros_like(gamma), grad_gamma, grad_beta, *[None] * 6


class BiasReluWeight(torch.autograd.Function):
    """relu(cells + bias) * weight, for a layer that normalises nothing.

    Args:
        cells: [cells, B, C] convolution outputs without bias.
        bias: [C].
        weight: [cells, 1, 1], positive.
    Returns:
        [cells + 1, B, C], the last row zero.
    """

    @staticmethod
    def forward(ctx: Any, cells: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
        result = cells.new_empty(len(cells) + 1, *cells.shape[1:])
        result[-1] = 0
        torch.add(cells, bias, out=result[:-1])
        result[:-1].relu_().mul_(weight)
        ctx.save_for_backward(result, weight)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        result, weight = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad[:-1] * weight, result[:-1], 0)
        return grad, grad.sum((0, 1)), None


def norm_relu_weight(cells: Tensor, bias: Tensor, norm: nn.BatchNorm2d | None, weight: Tensor, total: int) -> Tensor:
    """Batch norm with its side effects, ReLU and window weight: [cells, B, C] -> [cells + 1, B, C], last row zero.

    Args: see `NormReluWeight`; `total` is the number of values per channel of the whole map. Without a norm the bias is
        added in its place.
    """
    dtype = cells.dtype
    if norm is None:
        return BiasReluWeight.apply(cells, bias.to(dtype), weight)
    bias, gamma, beta = (parameter.to(dtype) for parameter in (bias, norm.weight, norm.bias))
    if uses_batch_statistics(norm):
        synced = isinstance(norm, SyncedBatchNorm2d)
        count: int | Tensor = total
        if synced:
            mean, variance, count = statistics_of_all_processes(cells.detach(), total)
        else:
            mean, variance = batch_statistics(cells.detach(), total)
        update_running_statistics(norm, mean + bias.detach(), variance, count)
        return NormReluWeight.apply(cells, bias, gamma, beta, mean, variance, weight, norm.eps, count, synced)
    scale, shift = folded_norm(bias, norm)
    result = (cells * scale + shift).relu() * weight
    return torch.cat([result, result.new_zeros(1, *result.shape[1:])])


def folded_norm(bias: Tensor, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Scale and shift [C] that add the bias and, where there is a norm, normalise by its running statistics."""
    if norm is None:
        return torch.ones_like(bias), bias
    dtype = bias.dtype
    scale = norm.weight.to(dtype) * torch.rsqrt(norm.running_var.to(dtype) + norm.eps)
    return scale, norm.bias.to(dtype) + (bias - norm.running_mean.to(dtype)) * scale
