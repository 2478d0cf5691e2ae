"""Running a function in a gloo group of fresh processes."""

import os
import tempfile
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing


def run_in_group(function: Callable, *args, world_size: int = 2, fresh: bool = True) -> list:
    """`function(rank, *args)` in each process of a group -> its results in rank order.

    The function must be importable by name, and what it returns be tensors and plain values.

    Args:
        fresh: False allows processes that are forks of this one, which have everything imported and so start at once.
            Where there is a GPU they are fresh all the same: autograd's threads for it do not survive a fork.
    """
    start = "spawn" if fresh or torch.cuda.is_available() else "fork"
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world_size, folder, function, args)
        torch.multiprocessing.start_processes(_run, arguments, nprocs=world_size, start_method=start)
        return [torch.load(os.path.join(folder, f"result_{rank}.pth")) for rank in range(world_size)]


def _run(rank: int, world_size: int, folder: str, function: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    try:
        torch.save(function(rank, *args), os.path.join(folder, f"result_{rank}.pth"))
    finally:
        dist.destroy_process_group()
