"""The process group: rank and world size from the environment, one process where there is no launcher."""

import datetime
import os
from collections.abc import Hashable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mmn.utils.errors import ConfigError, UserError

Agreed = TypeVar("Agreed", bound=Hashable)


def resolve_device(name: str, key: str = "the device") -> torch.device:
    """The device that a name means on this machine, not yet one per process; "auto" is a GPU where there is one.

    Args:
        key: the config key or flag that the name comes from, for messages.
    Raises ConfigError for a device that is not supported or that this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"{key} is {name!r}, which is no supported device: use auto, cpu, cuda, cuda:N or mps")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"{key} is {name!r}, but this machine, or its torch, has no Apple GPU: use auto or cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{key} is {name!r}, but this machine, or its torch, has no NVIDIA GPU: use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"{key} is {name!r}, but the {torch.cuda.device_count()} GPUs of this machine count from 0: use a lower number"
        )
    return device


def choose_device(name: str, key: str = "the device") -> torch.device:
    """The device that a name means for this process: on GPUs each process takes one of its own.

    Raises ConfigError as `resolve_device`, and where the machine has fewer GPUs than processes.
    """
    device = resolve_device(name, key)
    if device.type != "cuda":
        return device
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ConfigError(
            f"{key} is {name!r} and process {local_rank} of this machine wants a GPU of its own, but there are "
            f"{count}: start fewer processes, or set {key} cpu"
        )
    if device.index is None:
        device = torch.device(device.type, local_rank)
    torch.cuda.set_device(device)
    return device


def visible_gpus() -> list[str]:
    """The ids by which this process's GPUs can be named to another one in CUDA_VISIBLE_DEVICES."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [name.strip() for name in asked.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]


def init_process_group(device: torch.device, timeout_minutes: int) -> None:
    """Join the group that the launcher describes; without a launcher, do nothing.

    Args:
        timeout_minutes: a process that waits longer than this for the others ends with an error.
    """
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        # Gradients go by the GPUs' library; counts and small objects, which are on the host, by gloo.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        timeout = datetime.timedelta(minutes=timeout_minutes)
        dist.init_process_group(backend, timeout=timeout, **_store_of_restart(timeout))


def _store_of_restart(timeout: datetime.timedelta) -> dict:
    """For processes that torchrun has started again: a part of its store without the addresses of those before."""
    env = os.environ
    attempt = int(env.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if not attempt or env.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    store = dist.TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), is_master=False, timeout=timeout)
    prefixed = dist.PrefixStore(f"attempt_{attempt}_of_mmn", store)
    return {"store": prefixed, "rank": int(env["RANK"]), "world_size": int(env["WORLD_SIZE"])}


def destroy_process_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def get_rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def get_world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    if get_world_size() > 1:
        dist.barrier()


def all_gather_objects(value: object) -> list:
    """The value of every process, in rank order. For small things: they are pickled."""
    if get_world_size() == 1:
        return [value]
    values = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def mean_over_processes(values: dict[str, Tensor]) -> dict[str, float]:
    """The means over all processes of [] tensors, which every process has under the same names; their devices are waited
    for."""
    if not values:
        return {}
    means = sum_over_processes(torch.stack([value.float() for value in values.values()])) / get_world_size()
    return dict(zip(values, means.tolist(), strict=True))


def gather_objects(value: object) -> list:
    """The value of every process, in rank order, in the first process; an empty list in the others."""
    if get_world_size() == 1:
        return [value]
    values = [None] * get_world_size() if get_rank() == 0 else None
    dist.gather_object(value, values)
    return values or []


def agreed(value: Agreed, message: str) -> Agreed:
    """The value, which every process must have found alike on its machine's disk.

    Raises UserError with `message` and what to do where they differ.
    """
    if len(set(all_gather_objects(value))) > 1:
        raise UserError(f"{message}: put it on a file system that all machines share")
    return value


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of equally shaped tensors of all processes; no gradient."""
    if get_world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


class _SumWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        return sum_over_processes(value)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return sum_over_processes(gradient.contiguous())


def sum_with_gradient(value: Tensor) -> Tensor:
    """The sum of equally shaped tensors of all processes; a gradient is the sum of what all processes' losses say."""
    return _SumWithGradient.apply(value)


class _GatherRows(torch.autograd.Function):
    """Rows of all processes; the gradient of a row is the sum of what all processes' losses say about it."""

    @staticmethod
    def forward(ctx, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        # Summed in a copy: autograd may have handed the same buffer to others.
        return sum_over_processes(gradient.contiguous()).split(ctx.counts)[get_rank()], None


def gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """[n_r, ...] of each process r -> [sum n_r, ...] in rank order, with gradients.

    Args:
        counts: n_r of every process, see `row_counts`.
    """
    return rows if get_world_size() == 1 else _GatherRows.apply(rows, counts)


def row_counts(count: int) -> list[int]:
    """This process's number of rows and those of the others, in rank order. They travel between the hosts."""
    if get_world_size() == 1:
        return [count]
    own = torch.tensor([count])
    counts = [torch.empty_like(own) for _ in range(get_world_size())]
    dist.all_gather(counts, own)
    return torch.cat(counts).tolist()
