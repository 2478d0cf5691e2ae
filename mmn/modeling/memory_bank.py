"""A memory of the vectors of past steps, more negatives than one batch holds (MODEL.MMN.LOSS.MEMORY_BANK).

The paper takes its negatives from the batch (section 3.3); keeping those of earlier batches is the cross-batch memory of
Wang et al., CVPR 2020. Shapes: see the legend in `mmn.modeling`.
"""

import hashlib
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmn.utils.transfer import send


class PastVideos(NamedTuple):
    """Videos with all their cells and sentences as a memory bank keeps them, oldest first.

    What decides which videos stay is on the host, so that nothing waits for the device.

    Attributes:
        moments: [Q, M, C] unit vectors.
        sentences: [R, C] unit vectors, those of a video consecutive, in the order of `moments`.
        counts: Q numbers of sentences, one per video.
        keys: Q numbers, which videos they are, see `video_keys`.
    """

    moments: Tensor
    sentences: Tensor
    counts: tuple[int, ...]
    keys: tuple[int, ...]

    @property
    def sentence_videos(self) -> Tensor:
        """[R] int64, the sentences' videos, as rows of `moments`; on the device."""
        rows = torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts, dtype=torch.int64))
        return send(rows, self.moments.device)

    def same_videos(self, keys: Sequence[int]) -> Tensor:
        """[B, Q] bool on the device, True where the b-th of `keys` is a video of these."""
        others, own = (torch.tensor(numbers, dtype=torch.int64) for numbers in (keys, self.keys))
        return send(others[:, None] == own, self.moments.device)

    def followed_by(self, newer: "PastVideos", size: int) -> "PastVideos":
        """The last `size` of these videos and then the newer ones; of a video that is in both, the newer."""
        keys, counts = self.keys + newer.keys, self.counts + newer.counts
        last = {key: place for place, key in enumerate(newer.keys, start=len(self.keys))}
        places = [place for place, key in enumerate(keys) if place >= len(self.keys) or key not in last][-size:]
        first = list(itertools.accumulate(counts, initial=0))
        rows = [row for place in places for row in range(first[place], first[place + 1])]
        return PastVideos(
            select_rows(torch.cat([self.moments, newer.moments]), places),
            select_rows(torch.cat([self.sentences, newer.sentences]), rows),
            tuple(counts[place] for place in places),
            tuple(keys[place] for place in places),
        )


def select_rows(values: Tensor, rows: Sequence[int]) -> Tensor:
    """The rows of [R, ...] with numbers known to the host."""
    return values.index_select(0, send(torch.tensor(rows, dtype=torch.int64), values.device))


def video_keys(video_ids: Sequence[str]) -> tuple[int, ...]:
    """Names of videos -> a number of 64 bits for each, the same in every process and run."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in video_ids)
    return tuple(int.from_bytes(digest, "big", signed=True) for digest in digests)


class MemoryBank:
    """The last `size` distinct videos, as they were when they went through the network; without gradients.

    What the losses of a step offer is taken in when the step is settled, so that a step that is left out leaves no trace
    and all parts of a step meet the same bank.
    """

    def __init__(self, size: int):
        self.size = size
        self.content: PastVideos | None = None
        self.offered: list[PastVideos] = []

    def offer(self, videos: PastVideos) -> None:
        """Videos that the bank takes in if their step counts. Gradients are cut off here."""
        self.offered.append(videos._replace(moments=videos.moments.detach(), sentences=videos.sentences.detach()))

    def settle(self, keep: bool) -> None:
        """Take in what was offered since the last call, or with keep=False forget it."""
        for videos in self.offered if keep else []:
            content = (
                PastVideos(videos.moments[:0], videos.sentences[:0], (), ()) if self.content is None else self.content
            )
            self.content = content.followed_by(videos, self.size)
        self.offered.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors on the CPU, by name; none while the bank is empty."""
        if self.content is None:
            return {}
        content = self.content
        tensors = {
            "moments": content.moments,
            "sentences": content.sentences,
            "sentence_videos": content.sentence_videos,
            "keys": torch.tensor(content.keys, dtype=torch.int64),
        }
        return {name: tensor.cpu() for name, tensor in tensors.items()}

    def load_state_dict(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Take over a `state_dict`, onto `device`; an empty one empties the bank."""
        self.offered.clear()
        self.content = None
        if state:
            counts = state["sentence_videos"].bincount(minlength=len(state["keys"])).tolist()
            moments, sentences = state["moments"].to(device), state["sentences"].to(device)
            self.content = PastVideos(moments, sentences, tuple(counts), tuple(state["keys"].tolist()))
