"""A memory of the vectors of past steps, more negatives than one batch holds (MODEL.MMN.LOSS.MEMORY_BANK).

The paper takes its negatives from the batch (section 3.3); keeping those of earlier batches is the cross-batch memory of
Wang et al., CVPR 2020. Shapes: see the legend in `mmn.modeling`.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class PastVideos(NamedTuple):
    """Videos with all their cells and sentences as a memory bank keeps them, oldest first.

    Attributes:
        moments: [Q, M, C] unit vectors.
        sentences: [R, C] unit vectors.
        sentence_videos: [R] int64, the sentences' videos, as rows of `moments`.
        keys: [Q] int64, which videos they are.
    """

    moments: Tensor
    sentences: Tensor
    sentence_videos: Tensor
    keys: Tensor

    def select(self, kept: Tensor) -> "PastVideos":
        """The videos where `kept` [Q] bool is True."""
        kept_sentences = kept[self.sentence_videos]
        new_rows = kept.cumsum(0) - 1
        return PastVideos(
            self.moments[kept],
            self.sentences[kept_sentences],
            new_rows[self.sentence_videos[kept_sentences]],
            self.keys[kept],
        )

    def followed_by(self, newer: "PastVideos") -> "PastVideos":
        """These videos, then the newer ones; of a video that is in both, the newer."""
        older = self.select(~torch.isin(self.keys, newer.keys))
        return PastVideos(
            torch.cat([older.moments, newer.moments]),
            torch.cat([older.sentences, newer.sentences]),
            torch.cat([older.sentence_videos, newer.sentence_videos + len(older.moments)]),
            torch.cat([older.keys, newer.keys]),
        )

    def newest(self, count: int) -> "PastVideos":
        """The last `count` videos, or all where there are fewer."""
        return self.select(torch.arange(len(self.keys), device=self.keys.device) >= len(self.keys) - count)


def video_keys(video_ids: Sequence[str]) -> Tensor:
    """Names of videos -> [B] int64, the same in every process and run."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in video_ids)
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


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
        self.offered.append(PastVideos(*(value.detach() for value in videos)))

    def settle(self, keep: bool) -> None:
        """Take in what was offered since the last call, or with keep=False forget it."""
        for videos in self.offered if keep else []:
            joined = videos if self.content is None else self.content.followed_by(videos)
            self.content = joined.newest(self.size)
        self.offered.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors on the CPU by the names of `PastVideos`; none while the bank is empty."""
        if self.content is None:
            return {}
        return {name: value.cpu() for name, value in self.content._asdict().items()}

    def load_state_dict(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Take over a `state_dict`, onto `device`; an empty one empties the bank."""
        self.content = PastVideos(**{name: value.to(device) for name, value in state.items()}) if state else None
        self.offered.clear()
