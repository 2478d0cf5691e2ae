"""Samples -> GroundingBatch."""

from collections.abc import Sequence

import numpy as np
import torch

from mmn.data.dataset import VideoSample
from mmn.structures.batch import GroundingBatch


class Collator:
    """Pads the sentences of all videos of a batch to the longest of them.

    Args:
        pad_id: the tokenizer's padding token.
    """

    def __init__(self, pad_id: int):
        self.pad_id = pad_id

    def __call__(self, samples: Sequence[VideoSample]) -> GroundingBatch:
        tokens = [ids for sample in samples for ids in sample.tokens]
        lengths = np.array([len(ids) for ids in tokens])
        token_mask = np.arange(lengths.max()) < lengths[:, None]
        padded = np.full(token_mask.shape, self.pad_id, dtype=np.int64)
        padded[token_mask] = np.concatenate(tokens)
        counts = [len(sample.tokens) for sample in samples]
        sentence_ids = [np.arange(count) + sample.first_sentence for count, sample in zip(counts, samples, strict=True)]
        return GroundingBatch(
            feats=torch.from_numpy(np.stack([sample.clips for sample in samples])),
            tokens=torch.from_numpy(padded),
            token_mask=torch.from_numpy(token_mask.astype(np.int64)),
            video_index=torch.arange(len(samples)).repeat_interleave(torch.tensor(counts)),
            moments=torch.from_numpy(np.concatenate([sample.annotation.moments for sample in samples])),
            durations=torch.tensor([sample.annotation.duration for sample in samples], dtype=torch.float32),
            sentence_ids=torch.from_numpy(np.concatenate(sentence_ids)),
            video_ids=[sample.annotation.video_id for sample in samples],
        )
