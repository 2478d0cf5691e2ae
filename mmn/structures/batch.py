"""Batches: everything that goes through the model in one step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

Moved = TypeVar("Moved", bound="_Movable")


@dataclass(eq=False)
class _Movable:
    """A dataclass of tensors and plain values that goes to a device as one."""

    def to(self: Moved, device: torch.device) -> Moved:
        """A copy on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self: Moved) -> Moved:
        """Called by the data loader's pinning thread."""
        return self._map(Tensor.pin_memory)

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Tell the memory allocator that `stream` uses the tensors, which another one made."""
        self._map(lambda tensor: tensor.record_stream(stream))

    def _map(self: Moved, function: Callable[[Tensor], object]) -> Moved:
        changed = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = function(value)
            elif isinstance(value, _Movable):
                changed[field.name] = value._map(function)
        return replace(self, **changed)


@dataclass
class RowLayout(_Movable):
    """Layout of rows over owners: sentences or tubes over videos, moments over sentences. The rows of an owner are
    consecutive, in the owners' order.

    Attributes:
        counts: rows of each of the B owners, on the host, so that nothing waits for a device to learn a shape.
        owner: [R] int64, the owner of a row.
        slot: [R] int64, its number among the rows of its owner.
    """

    counts: tuple[int, ...]
    owner: Tensor
    slot: Tensor

    @classmethod
    def from_counts(cls, counts: Sequence[int]) -> "RowLayout":
        """The layout of owners with `counts` rows each."""
        repeats = torch.tensor(counts, dtype=torch.int64)
        owner = torch.arange(len(repeats)).repeat_interleave(repeats)
        first = repeats.cumsum(0) - repeats
        return cls(tuple(counts), owner, torch.arange(len(owner)) - first[owner])

    @property
    def has_one_each(self) -> bool:
        """True where every owner has one row, so that rows and owners are the same."""
        return all(count == 1 for count in self.counts)

    def pad(self, rows: Tensor, fill: float = 0.0) -> Tensor:
        """[R, ...] -> [B, most rows of an owner, ...], `fill` where an owner has fewer."""
        padded = rows.new_full((len(self.counts), max(self.counts), *rows.shape[1:]), fill)
        return padded.index_put((self.owner, self.slot), rows)

    def unpad(self, padded: Tensor) -> Tensor:
        """The inverse of `pad`."""
        return padded[self.owner, self.slot]

    def spread(self, values: Tensor) -> Tensor:
        """Values of the owners [B, ...] -> those of their rows [R, ...]."""
        return values if self.has_one_each else values[self.owner]

    def highest(self, rows: Tensor) -> Tensor:
        """[R, ...] -> [B, ...], the highest of each owner's rows; for owners that have one."""
        return rows if self.has_one_each else self.pad(rows, fill=-torch.inf).amax(dim=1)

    @property
    def first_rows(self) -> Tensor:
        """[B] int64, the first row of each owner; for owners that have one."""
        return self.pad(torch.arange(len(self.slot), device=self.slot.device))[:, 0]


@dataclass(kw_only=True)
class Batch(_Movable):
    """The part of a batch that all tasks have: what the network embeds, and whose it is.

    Attributes:
        feats: [B, P, D] float32, resampled clip features.
        tokens: [U, L] int64, padded token ids of the U distinct sentences, [CLS] and [SEP] included; for 2D-TAN the
            vectors of their words in the place of ids, [U, L, E] float32.
        token_mask: [U, L] int64, 1 at real tokens.
        token_rows: [S] int64, the row of `tokens` that is a sentence's.
        sentence_ids: [S] int64, position of a sentence in its split's annotation order.
        video_ids: the names of the videos, which tell them apart in messages and in the memory bank.
    """

    feats: Tensor
    tokens: Tensor
    token_mask: Tensor
    token_rows: Tensor
    sentence_ids: Tensor
    video_ids: list[str]


@dataclass(kw_only=True)
class GroundingBatch(Batch):
    """Videos and their sentences.

    Attributes:
        layout: which sentence belongs to which video.
        moments: [W, 2] float32 seconds, what the sentences describe.
        moment_layout: which of these belongs to which sentence; each has one or more, or none in a split without truth.
        durations: [B] float32 seconds.
    """

    layout: RowLayout
    moments: Tensor
    moment_layout: RowLayout
    durations: Tensor

    @property
    def video_index(self) -> Tensor:
        """[S] int64, the video in 0..B-1 that a sentence belongs to."""
        return self.layout.owner

    @property
    def sentence_durations(self) -> Tensor:
        """[S] float32 seconds, the duration of each sentence's video."""
        return self.durations[self.video_index]

    @property
    def moment_durations(self) -> Tensor:
        """[W] float32 seconds, the duration of each moment's video."""
        return self.moment_layout.spread(self.sentence_durations)


@dataclass(kw_only=True)
class TubeBatch(Batch):
    """Videos with one sentence and some candidate tubes each. A tube is what the network takes for a video: `feats` is
    [T, P, D], T tubes in all.

    Attributes:
        tubes: which tube belongs to which video.
        lengths: [T] int64, frames of each tube.
        ious: [T, M] float32, spatio-temporal IoU of the valid cells of each tube with its video's truth; 0 without one.
    """

    tubes: RowLayout
    lengths: Tensor
    ious: Tensor
