"""Splits whose unit is a sentence with its video, in batches and in sampling, as 2D-TAN trains (SPEC section 10)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from mmn.data.collate import Collator
from mmn.data.dataset import MomentDataset, VideoSample
from mmn.structures.batch import GroundingBatch
from mmn.structures.rows_id import RowsId


class SentenceDataset(MomentDataset):
    """A split as a sequence of sentences, in annotation order."""

    def __len__(self) -> int:
        return self.num_sentences

    def __getitem__(self, index: int) -> VideoSample:
        """The sample of one sentence alone."""
        number = self.video_number(index)
        video, place = self.videos[number], index - int(self.first_sentence[number])
        own = slice(place, place + 1)
        annotation = replace(video, sentences=video.sentences[own], windows=video.windows[own], qids=None)
        return VideoSample(self.clips(number), self.tokens[index : index + 1], annotation, index)

    def video_number(self, index: int) -> int:
        return int(np.searchsorted(self.first_sentence, index, side="right")) - 1

    def sentence_numbers(self, index: int) -> range:
        return range(index, index + 1)


class SentenceCollator(Collator):
    """Samples of a sentence each -> GroundingBatch, in which every video comes once with all its sentences.

    Args:
        vectors: word numbers [U, L] -> word vectors [U, L, E] float32, see `mmn.data.glove.WordTokenizer`.
        pad_id, length_multiple, max_length: see `Collator`.
    """

    def __init__(self, vectors: Callable[[np.ndarray], np.ndarray], pad_id: int = 0, *lengths: int):
        super().__init__(pad_id, *lengths)
        self.vectors = vectors

    def __call__(self, samples: Sequence[VideoSample]) -> GroundingBatch:
        videos: dict[tuple[RowsId, float], list[VideoSample]] = {}
        for sample in samples:
            videos.setdefault((sample.annotation.rows_id, sample.annotation.duration), []).append(sample)
        return self.collate(list(videos.values()))

    def pad_tokens(self, sentences: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """S arrays of word numbers -> vectors [U, L, E] float32, token_mask [U, L] and token_rows [S], both int64."""
        ids, token_mask, token_rows = super().pad_tokens(sentences)
        return torch.from_numpy(self.vectors(ids.numpy())), token_mask, token_rows
