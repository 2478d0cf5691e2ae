"""Run a model over a split and rank the moments of every sentence."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmn.engine.transfer import on_device
from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.scoring import final_score
from mmn.structures.batch import GroundingBatch
from mmn.structures.moments import cell_moments, nms
from mmn.structures.proposals import ProposalCells
from mmn.utils import comm


@dataclass
class Predictions:
    """Ranked moments of a set of sentences.

    Attributes:
        sentence_ids: [S] int64, positions in the split's annotation order.
        moments: [S, n, 2] float32 seconds, best first.
        scores: [S, n] float32; 0 where a sentence has fewer than n moments.
    """

    sentence_ids: Tensor
    moments: Tensor
    scores: Tensor

    def merge(self) -> "Predictions":
        """The predictions of all processes in annotation order, each sentence once."""
        parts = comm.all_gather_objects(self)
        sentence_ids = torch.cat([part.sentence_ids for part in parts])
        order = sentence_ids.argsort(stable=True)
        is_first = torch.ones_like(order, dtype=torch.bool)
        is_first[1:] = sentence_ids[order[1:]] != sentence_ids[order[:-1]]
        order = order[is_first]
        return Predictions(
            sentence_ids[order],
            torch.cat([part.moments for part in parts])[order],
            torch.cat([part.scores for part in parts])[order],
        )


class MomentRanker:
    """Scores of the proposal map -> ranked moments (SPEC section 5).

    Args:
        cells: the map's cells.
        nms_threshold, contrastive_power: TEST.NMS_THRESH, TEST.CONTRASTIVE_SCORE_POW.
        num_predictions: n, moments kept per sentence at most.
    """

    def __init__(self, cells: ProposalCells, nms_threshold: float, contrastive_power: float, num_predictions: int):
        self.cells = cells
        self.nms_threshold = nms_threshold
        self.contrastive_power = contrastive_power
        self.num_predictions = num_predictions

    def __call__(self, output: GroundingOutput, batch: GroundingBatch) -> tuple[Tensor, Tensor]:
        """Moments [S, n, 2] seconds and their scores [S, n], best first, zeros where a sentence has fewer."""
        contrastive, iou = output.scores(batch.layout)
        return self.rank(contrastive, iou, batch.sentence_durations)

    def rank(self, contrastive: Tensor, iou: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
        """The same from scores [S, M] on the valid cells and durations [S] seconds."""
        scores = final_score(contrastive.float(), iou.float(), self.contrastive_power)
        return nms(cell_moments(self.cells, durations), scores, self.nms_threshold, self.num_predictions)


@torch.no_grad()
def predict(
    model: nn.Module,
    loader: DataLoader,
    ranker: MomentRanker,
    device: torch.device,
    observe: Callable[[Tensor, Tensor, Tensor], None] | None = None,
) -> Predictions:
    """The predictions for this process's share of a split, on the CPU. The model is left in its mode.

    Args:
        observe: called on every batch with the sentence ids [S] and both heads' scores, each [S, M].
    """
    was_training = model.training
    model.eval()
    ids, moments, scores = [], [], []
    for batch in on_device(loader, device):
        contrastive, iou = model(batch).scores(batch.layout)
        batch_moments, batch_scores = ranker.rank(contrastive, iou, batch.sentence_durations)
        if observe is not None:
            observe(batch.sentence_ids, contrastive, iou)
        ids.append(batch.sentence_ids)
        moments.append(batch_moments)
        scores.append(batch_scores)
    model.train(was_training)
    if not ids:  # fewer videos than processes
        return Predictions(
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0, ranker.num_predictions, 2),
            torch.zeros(0, ranker.num_predictions),
        )
    return Predictions(torch.cat(ids).cpu(), torch.cat(moments).cpu(), torch.cat(scores).cpu())
