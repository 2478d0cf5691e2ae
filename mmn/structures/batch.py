"""What goes through the model in one step."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass
class GroundingBatch:
    """Videos and their sentences. The sentences of one video are consecutive, in the order of the videos.

    Attributes:
        feats: [B, P, D] float32, resampled clip features.
        tokens: [S, L] int64, padded token ids, [CLS] and [SEP] included.
        token_mask: [S, L] int64, 1 at real tokens.
        video_index: [S] int64, the video in 0..B-1 that a sentence belongs to.
        moments: [S, 2] float32 seconds, what the sentences describe.
        durations: [B] float32 seconds.
        sentence_ids: [S] int64, position of a sentence in its split's annotation order.
        video_ids: B names, for messages.
    """

    feats: Tensor
    tokens: Tensor
    token_mask: Tensor
    video_index: Tensor
    moments: Tensor
    durations: Tensor
    sentence_ids: Tensor
    video_ids: list[str]

    @property
    def sentence_durations(self) -> Tensor:
        """[S] float32 seconds, the duration of each sentence's video."""
        return self.durations[self.video_index]

    def split(self, num_parts: int) -> list["GroundingBatch"]:
        """The batch in up to `num_parts` parts of whole videos, as equal in videos as can be."""
        if num_parts == 1:
            return [self]
        parts = []
        for videos in torch.arange(len(self.video_ids)).tensor_split(min(num_parts, len(self.video_ids))):
            first, stop = int(videos[0]), int(videos[-1]) + 1
            rows = ((self.video_index >= first) & (self.video_index < stop)).nonzero().squeeze(1)
            parts.append(
                GroundingBatch(
                    feats=self.feats[first:stop],
                    tokens=self.tokens[rows],
                    token_mask=self.token_mask[rows],
                    video_index=self.video_index[rows] - first,
                    moments=self.moments[rows],
                    durations=self.durations[first:stop],
                    sentence_ids=self.sentence_ids[rows],
                    video_ids=self.video_ids[first:stop],
                )
            )
        return parts

    def to(self, device: torch.device) -> "GroundingBatch":
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "GroundingBatch":
        """Called by the data loader's pinning thread."""
        return self._map(Tensor.pin_memory)

    def _map(self, function) -> "GroundingBatch":
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(x) for name, x in tensors.items() if isinstance(x, Tensor)})
