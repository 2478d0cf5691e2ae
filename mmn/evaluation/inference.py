"""Run a model over a split and rank the moments of every sentence."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmn.data.prefetch import on_device
from mmn.evaluation.qvhighlights import CLIP_SECONDS
from mmn.modeling.match_rules import COSINE, MATCH_RULES
from mmn.modeling.scoring import combined_score
from mmn.modeling.text_encoder import remembered_sentences
from mmn.structures.batch import Batch, GroundingBatch
from mmn.structures.moments import cell_moments, nms
from mmn.structures.proposals import ProposalCells
from mmn.structures.query_vectors import HEADS
from mmn.utils import comm
from mmn.utils.errors import UserError


@dataclass
class SentencePredictions:
    """Findings for a set of sentences: every field is a tensor with a row per sentence.

    Attributes:
        sentence_ids: [S] int64, positions in the split's annotation order.
    """

    sentence_ids: Tensor

    def merge(self):
        """The predictions of all processes on the CPU, in annotation order, each sentence once."""
        here = [getattr(self, field.name).cpu() for field in fields(self)]
        parts = comm.all_gather_objects(type(self)(*here))
        columns = [torch.cat([getattr(part, field.name) for part in parts]) for field in fields(self)]
        rows = first_rows(columns[0])
        return type(self)(*(column[rows] for column in columns))


def first_rows(sentence_ids: Tensor) -> Tensor:
    """The first row of each sentence, in annotation order, of ids [S] that repeat: videos that pad a batch come twice."""
    return torch.from_numpy(np.unique(sentence_ids.numpy(), return_index=True)[1])


@dataclass
class Predictions(SentencePredictions):
    """Ranked moments of a set of sentences.

    Attributes:
        moments: [S, n, 2] float32 seconds, best first.
        scores: [S, n] float32; 0 where a sentence has fewer than n moments.
    """

    moments: Tensor
    scores: Tensor

    def of_clips(self, row: int, duration: float) -> list[float] | None:
        """The saliency of each clip of CLIP_SECONDS of the video of sentence `row`; None where it was not kept."""
        return None


@dataclass
class HighlightPredictions(Predictions):
    """Ranked moments, with the scores of the clips of the map.

    Attributes:
        clip_scores: [S, N] float32, the final scores of the diagonal.
    """

    clip_scores: Tensor

    def of_clips(self, row: int, duration: float) -> list[float]:
        """Clip k of CLIP_SECONDS has the score of the clip of the map that its middle lies in; N may be another number."""
        scores = self.clip_scores[row]
        middles = (torch.arange(max(1, int(duration / CLIP_SECONDS))) + 0.5) * CLIP_SECONDS
        places = (middles / duration * len(scores)).long().clamp(max=len(scores) - 1)
        return scores[places].tolist()


class Ranker(Protocol):
    """Output of the network for a batch -> the rows of its sentences in `predictions`, but for their ids.

    The last column is scores, NaN for a sentence whose map is not finite.
    """

    predictions: Callable[..., SentencePredictions]

    def __call__(self, output: Any, batch: Batch) -> tuple[Tensor, ...]: ...

    def no_rows(self) -> tuple[Tensor, ...]:
        """Rows for no sentence at all."""


class MomentRanker:
    """Scores of the proposal map -> ranked moments (SPEC section 5).

    Other networks' rankers are kinds of it: their scores may have other heads.

    Args:
        cells: the map's cells.
        nms_threshold, contrastive_power: TEST.NMS_THRESH, TEST.CONTRASTIVE_SCORE_POW.
        num_predictions: n, moments kept per sentence at most.
        score: TEST.SCORE.
        contrastive_rule: TEST.CONTRASTIVE_RULE.
    """

    heads: tuple[str, ...] = HEADS  # what `head_scores` gives, by name
    keeps_clip_scores = False  # set where the metrics of a split need them; then `rank` gives them as a third column

    def __init__(
        self,
        cells: ProposalCells,
        nms_threshold: float,
        contrastive_power: float,
        num_predictions: int,
        score: str = "product",
        contrastive_rule: str = COSINE,
    ):
        self.cells = cells
        self.nms_threshold = nms_threshold
        self.contrastive_power = contrastive_power
        self.num_predictions = num_predictions
        self.score = score
        self.contrastive_rule = contrastive_rule

    @property
    def predictions(self) -> type[Predictions]:
        """The kind of predictions that the columns make."""
        return HighlightPredictions if self.keeps_clip_scores else Predictions

    def head_scores(self, output: Any, batch: GroundingBatch) -> Any:
        """A tuple of scores [S, M], one for each head, on the valid cells of the sentences' own videos."""
        return output.scores(batch.layout)

    def __call__(self, output: Any, batch: GroundingBatch) -> tuple[Tensor, ...]:
        """Moments [S, n, 2] seconds and their scores [S, n], best first, zeros where a sentence has fewer."""
        return self.rank(*self.head_scores(output, batch), batch.sentence_durations)  # type: ignore[call-arg]  # as many as heads

    def no_rows(self) -> tuple[Tensor, ...]:
        columns = torch.zeros(0, self.num_predictions, 2), torch.zeros(0, self.num_predictions)
        return (*columns, torch.zeros(0, self.cells.num_clips)) if self.keeps_clip_scores else columns

    def rank(self, contrastive: Tensor, iou: Tensor, durations: Tensor) -> tuple[Tensor, ...]:
        """Moments and scores as above, from the scores [S, M] of each head and durations [S] seconds."""
        scores = self.scores(contrastive.float(), iou.float())
        kept = nms(cell_moments(self.cells, durations), scores, self.nms_threshold, self.num_predictions)
        return self.columns(*kept, scores)

    def columns(self, moments: Tensor, kept: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        """Moments and scores that NMS kept of the final scores [S, M] -> what `rank` gives."""
        # A map that is not finite shows in its scores, wherever it is: NMS alone would pass over such cells.
        is_broken = ~scores.isfinite().all(dim=1, keepdim=True)
        columns = moments, kept.masked_fill(is_broken, torch.nan)
        if not self.keeps_clip_scores:
            return columns
        return (*columns, self.cells.diagonal(scores).masked_fill(is_broken, torch.nan))

    def scores(self, contrastive: Tensor, iou: Tensor) -> Tensor:
        """The scores that moments are ranked by, in [0, 1], from those of the two heads, [S, M] float32 each."""
        match = MATCH_RULES[self.contrastive_rule](contrastive[:, None], self.cells)[:, 0]
        return combined_score(match, iou, self.contrastive_power, self.score)


@torch.no_grad()
def predict(model: nn.Module, loader: DataLoader, ranker: Ranker, device: torch.device) -> SentencePredictions:
    """The ranker's predictions for this process's share of a split, on `device`. The model is left in its mode."""
    was_training = model.training
    model.eval()
    with remembered_sentences(model):
        rows = [(batch.sentence_ids, *ranker(model(batch), batch)) for batch in on_device(loader, device)]
    model.train(was_training)
    if not rows:  # fewer videos than processes
        rows = [(torch.zeros(0, dtype=torch.int64), *ranker.no_rows())]
    columns = [torch.cat(column).to(device) for column in zip(*rows, strict=True)]
    refuse_nan(columns[-1])
    return ranker.predictions(*columns)


def refuse_nan(scores: Tensor) -> None:
    """Raise UserError where scores, whatever their shape, have a NaN: nothing can be ranked by them."""
    if scores.isnan().any():
        raise UserError(
            "the model's scores are not finite numbers: check its features with check_data, set SOLVER.AMP off, or take "
            "an earlier checkpoint"
        )
