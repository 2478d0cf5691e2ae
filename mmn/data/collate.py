"""Samples -> GroundingBatch."""

import sys
from collections.abc import Sequence

import numpy as np
import torch

from mmn.data.dataset import VideoSample
from mmn.structures.batch import GroundingBatch, RowLayout


class Collator:
    """Pads the distinct sentences of all videos of a batch to the longest of them; equal ones are encoded once.

    Args:
        pad_id: the tokenizer's padding token.
        length_multiple: padded lengths are multiples of this. Few shapes suit compilers and GPU caches; a CPU prefers 1.
        max_length: but no more than this, what the encoder reads.
    """

    def __init__(self, pad_id: int, length_multiple: int = 1, max_length: int = sys.maxsize):
        self.pad_id = pad_id
        self.length_multiple = length_multiple
        self.max_length = max_length

    def __call__(self, samples: Sequence[VideoSample]) -> GroundingBatch:
        return self.collate([[sample] for sample in samples])

    def collate(self, videos: Sequence[Sequence[VideoSample]]) -> GroundingBatch:
        """The batch of these videos, each in one or more samples, which have sentences of their own."""
        samples = [sample for video in videos for sample in video]
        tokens, token_mask, token_rows = self.pad_tokens([ids for sample in samples for ids in sample.tokens])
        sentence_ids = [np.arange(len(sample.tokens)) + sample.first_sentence for sample in samples]
        return GroundingBatch(
            feats=torch.from_numpy(np.stack([video[0].clips for video in videos])),
            tokens=tokens,
            token_mask=token_mask,
            token_rows=token_rows,
            layout=RowLayout.from_counts([sum(len(sample.tokens) for sample in video) for video in videos]),
            moments=torch.from_numpy(np.concatenate([sample.annotation.moments for sample in samples])),
            moment_layout=RowLayout.from_counts(
                np.concatenate([sample.annotation.moment_counts for sample in samples]).tolist()
            ),
            durations=torch.tensor([video[0].annotation.duration for video in videos], dtype=torch.float32),
            sentence_ids=torch.from_numpy(np.concatenate(sentence_ids)),
            video_ids=[video[0].annotation.video_id for video in videos],
        )

    def pad_tokens(self, sentences: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """S arrays of token ids -> tokens [U, L], token_mask [U, L] and token_rows [S], all int64."""
        rows: dict[bytes, int] = {}
        token_rows = [rows.setdefault(ids.tobytes(), len(rows)) for ids in sentences]
        distinct = [np.frombuffer(ids, dtype=sentences[0].dtype) for ids in rows]
        lengths = np.array([len(ids) for ids in distinct])
        width = min(-(-int(lengths.max()) // self.length_multiple) * self.length_multiple, self.max_length)
        token_mask = np.arange(width) < lengths[:, None]
        tokens = np.full(token_mask.shape, self.pad_id, dtype=np.int64)
        tokens[token_mask] = np.concatenate(distinct)
        return torch.from_numpy(tokens), torch.from_numpy(token_mask.astype(np.int64)), torch.tensor(token_rows)
