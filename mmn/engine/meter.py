"""Averages between two log lines."""

import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from mmn.structures.batch import Batch
from mmn.utils import comm


class Meter:
    """Averages of step values, throughput and the share of time spent waiting for data, between two flushes."""

    def __init__(self, device: torch.device):
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Forget all that was added and begin to measure anew."""
        self.sums.clear()
        self.num_steps = self.num_videos = 0
        self.wait = 0.0
        self.start = time.perf_counter()

    def time_waits(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches; the time that each is waited for counts as waiting for data."""
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            self.wait += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def add(self, values: dict[str, Tensor], num_videos: int) -> None:
        """Count a step: its values, [] tensors on `device`, and the videos it trained on."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.num_steps += 1
        self.num_videos += num_videos

    def flush(self) -> dict[str, float]:
        """Means over the steps since the last flush and over all processes, and the videos per second of all together.

        Called on all processes.
        """
        values = comm.mean_over_processes({name: value / self.num_steps for name, value in self.sums.items()})
        seconds = time.perf_counter() - self.start
        values["videos_per_s"] = self.num_videos * comm.get_world_size() / seconds
        values["data_wait"] = self.wait / seconds
        self.restart()
        return values

    def state_dict(self) -> dict:
        """Sums and times so far, from which a continued run logs the same averages."""
        return {
            "sums": {name: value.cpu().clone() for name, value in self.sums.items()},
            "num_steps": self.num_steps,
            "num_videos": self.num_videos,
            "wait": self.wait,
            "seconds": time.perf_counter() - self.start,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue from a `state_dict`."""
        self.sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self.num_steps, self.num_videos, self.wait = state["num_steps"], state["num_videos"], state["wait"]
        self.start = time.perf_counter() - state["seconds"]
