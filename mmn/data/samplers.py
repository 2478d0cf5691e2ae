"""Shares of the processes: which videos, in which order (SPEC section 4)."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Training order: a permutation that depends on the epoch alone, split into one contiguous block per process.

    The permutation is padded from its own front to a multiple of the number of processes.

    Attributes:
        epoch: counted from 1; to be set before each one.
        num_done: videos at the start of this process's block to leave out, for a run that continues inside an epoch.
    """

    def __init__(self, num_videos: int, rank: int, world_size: int):
        self.num_videos = num_videos
        self.rank = rank
        self.world_size = world_size
        self.epoch = 1
        self.num_done = 0

    def __len__(self) -> int:
        return -(-self.num_videos // self.world_size)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(self.num_videos, generator=generator)
        padded = order[torch.arange(len(self) * self.world_size) % self.num_videos]
        return iter(padded[self.rank * len(self) + self.num_done : (self.rank + 1) * len(self)].tolist())


class ShardSampler(Sampler[int]):
    """Evaluation order: file order, in contiguous shards that differ by at most one video. Nothing is padded."""

    def __init__(self, num_videos: int, rank: int, world_size: int):
        self.shard = range(num_videos * rank // world_size, num_videos * (rank + 1) // world_size)

    def __len__(self) -> int:
        return len(self.shard)

    def __iter__(self) -> Iterator[int]:
        return iter(self.shard)
