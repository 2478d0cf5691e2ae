"""The loss of a split that is evaluated on, over the batches of its definition, whatever batches were predicted."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmn.evaluation.inference import Ranker, SentencePredictions
from mmn.structures.batch import Batch


@dataclass
class SentenceLosses(SentencePredictions):
    """The losses of a set of sentences.

    Attributes:
        losses: [S] float32.
    """

    losses: Tensor


class LossRecorder:
    """A ranker that also keeps the loss of every sentence, for this process's share of a split.

    Args:
        ranker: does the ranking.
        sentence_losses: (output, batch) -> the loss of each sentence [S].
    """

    def __init__(self, ranker: Ranker, sentence_losses: Callable[..., Tensor]):
        self.ranker = ranker
        self.predictions = ranker.predictions
        self.sentence_losses = sentence_losses
        self.kept = [(torch.zeros(0, dtype=torch.int64), torch.zeros(0))]  # ids [s], losses [s]

    def __call__(self, output: object, batch: Batch) -> tuple[Tensor, ...]:
        """See `Ranker`."""
        self.kept.append((batch.sentence_ids.cpu(), self.sentence_losses(output, batch).float().cpu()))
        return self.ranker(output, batch)

    def no_rows(self) -> tuple[Tensor, ...]:
        return self.ranker.no_rows()

    def mean_of_batches(self, batch_size: int) -> float:
        """Plain mean over batches of so many sentences in annotation order, the last, smaller one weighing as much as any.

        Called on all processes, which may have predicted in other batches (SPEC section 10).
        """
        here = SentenceLosses(*(torch.cat(column) for column in zip(*self.kept, strict=True)))
        batches = here.merge().losses.split(batch_size)
        return torch.stack([batch.mean() for batch in batches]).double().mean().item()
