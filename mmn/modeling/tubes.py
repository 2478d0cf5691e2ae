"""The parts of the network that HC-STVG has beyond moments: its feature pooling, scores and losses (SPEC section 8).

Each candidate tube is one element of the network's batch dimension, so that [T, ...] stands where the legend of
`mmn.modeling` has [B, ...]; T is the number of tubes of the whole batch. Every video has one sentence: S = B.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmn.modeling.featpool import FeatAvgPool
from mmn.modeling.losses import DENOMINATOR_EPSILON, scaled_iou_loss
from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.scoring import iou_score
from mmn.structures.batch import RowLayout, TubeBatch
from mmn.utils import comm

SAME_IOU = 1e-6  # cells whose IoU is this near the positive's count as positives too


class TubeFeatAvgPool(FeatAvgPool):
    """`FeatAvgPool` with the two linear layers that the released weights carry and no score uses."""

    def __init__(self, input_size: int, hidden_size: int, kernel_size: int, stride: int, joint_space_size: int):
        super().__init__(input_size, hidden_size, kernel_size, stride)
        self.fc1 = nn.Linear(input_size, joint_space_size).requires_grad_(False)
        self.fc2 = nn.Linear(joint_space_size, joint_space_size).requires_grad_(False)


def tube_cosines(sentences: Tensor, moments: Tensor, tubes: RowLayout) -> Tensor:
    """Cosine of every tube's cells with the sentence of its video: [S, C] and [T, M, C] unit vectors -> [T, M]."""
    return torch.bmm(moments, sentences[tubes.owner][..., None]).squeeze(-1)


def tube_scores(output: GroundingOutput, tubes: RowLayout) -> Tensor:
    """iou * contrastive of every tube's cells with the sentence of its video -> [T, M]; it can be negative."""
    contrastive = tube_cosines(output.sentences_contrastive, output.moments_contrastive, tubes)
    return iou_score(tube_cosines(output.sentences_iou, output.moments_iou, tubes)) * contrastive


class Positives(NamedTuple):
    """The cell of highest IoU over all tubes of each video.

    Attributes:
        slot: [S] int64, its tube's number among those of the video.
        tube: [S] int64, its tube's row among all T' tubes.
        cell: [S] int64.
        tube_ious: [S, M], the IoU map of its tube.
    """

    slot: Tensor
    tube: Tensor
    cell: Tensor
    tube_ious: Tensor

    @property
    def iou(self) -> Tensor:
        """[S, 1], the highest IoU."""
        return self.tube_ious.gather(1, self.cell[:, None])


class TubeNegatives(NamedTuple):
    """The vectors that sentences and their positives are contrasted with.

    Attributes:
        moments: [T', M, C] unit vectors of all tubes.
        sentences: [S', C] unit vectors of all sentences.
        own: [S] int64, which of the S' sentences are this process's.
        first_own_tube: which of the T' tubes is this process's first.
    """

    moments: Tensor
    sentences: Tensor
    own: Tensor
    first_own_tube: int


def collect_tube_negatives(output: GroundingOutput, gather: bool) -> TubeNegatives:
    """The negatives of this process's batch, or with `gather` those of all processes (gradients included)."""
    moments, sentences = output.moments_contrastive, output.sentences_contrastive
    own = torch.arange(len(sentences), device=sentences.device)
    if not gather or comm.get_world_size() == 1:
        return TubeNegatives(moments, sentences, own, 0)
    tube_counts, sentence_counts = comm.row_counts(len(moments)), comm.row_counts(len(sentences))
    return TubeNegatives(
        comm.gather_rows(moments, tube_counts),
        comm.gather_rows(sentences, sentence_counts),
        own + sum(sentence_counts[: comm.get_rank()]),
        sum(tube_counts[: comm.get_rank()]),
    )


def find_positives(ious: Tensor, tubes: RowLayout, first_own_tube: int) -> Positives:
    """ious: [T, M] of this process's tubes; first_own_tube: see `TubeNegatives`. Of equal cells the first is taken."""
    padded = tubes.pad(ious, fill=-1.0)  # [S, most tubes of a video, M]
    best = padded.flatten(1).argmax(dim=1)
    slot, cell = best // ious.shape[1], best % ious.shape[1]
    own_tube = tubes.first_rows + slot
    return Positives(slot, own_tube + first_own_tube, cell, ious[own_tube])


class TubeMatchingLoss:
    """The two contrastive losses, one positive per sentence.

    Args:
        margin, tau_video, tau_sent, negative_video_iou, masked_negatives: as in `MutualMatchingLoss`.
        tube_index: "released" or "batch", see MODEL.MMN.LOSS.TUBE_INDEX.
    """

    def __init__(
        self,
        margin: float,
        tau_video: float,
        tau_sent: float,
        negative_video_iou: float,
        masked_negatives: str,
        tube_index: str,
    ):
        self.margin = margin
        self.tau_video = tau_video
        self.tau_sent = tau_sent
        self.negative_video_iou = negative_video_iou
        self.masked_logit = {"ones": 0.0, "exclude": -math.inf}[masked_negatives]
        self.tube_index = tube_index

    def __call__(self, negatives: TubeNegatives, positives: Positives) -> tuple[Tensor, Tensor]:
        """Losses (video -> sentence, sentence -> video) of this process's S sentences, each [S]."""
        return self.video_to_sentence(negatives, positives), self.sentence_to_video(negatives, positives)

    def video_to_sentence(self, negatives: TubeNegatives, positives: Positives) -> Tensor:
        """Each positive cell against all sentences -> [S]."""
        cosine = negatives.moments[positives.tube, positives.cell] @ negatives.sentences.T  # [S, S']
        is_own = negatives.own[:, None] == torch.arange(cosine.shape[1], device=cosine.device)
        logits = torch.where(is_own, cosine - self.margin, cosine) / self.tau_video
        return logits.logsumexp(dim=1) - logits.gather(1, negatives.own[:, None]).squeeze(1)

    def sentence_to_video(self, negatives: TubeNegatives, positives: Positives) -> Tensor:
        """Each sentence against the cells of its positive's tube, and against all cells of the other tubes -> [S]."""
        num_tubes, num_cells, _ = negatives.moments.shape
        sentences = negatives.sentences[negatives.own]
        rows = torch.arange(len(sentences), device=sentences.device)
        cosine = (sentences @ negatives.moments.flatten(0, 1).T).view(-1, num_tubes, num_cells)  # [S, T', M]
        own = cosine[rows, positives.tube]  # [S, M]
        positive = (own.gather(1, positives.cell[:, None]) - self.margin) / self.tau_sent  # [S, 1]
        # As released, the tube left out here is the row of the batch that has the positive tube's number in its video.
        left_out = {"released": positives.slot, "batch": positives.tube}[self.tube_index]
        others = (cosine / self.tau_sent).index_put((rows, left_out), cosine.new_tensor(-math.inf))
        epsilon = torch.full_like(positive, math.log(DENOMINATOR_EPSILON))
        terms = [positive, self._own_tube_logits(own, positives), others.flatten(1), epsilon]
        return (torch.cat(terms, dim=1).logsumexp(dim=1, keepdim=True) - positive).squeeze(1)

    def _own_tube_logits(self, own: Tensor, positives: Positives) -> Tensor:
        """Cosines with the cells of the positive's tube [S, M] -> what they add to the denominator.

        Cells as good as the positive count with the margin taken off, so that the positive itself counts twice; of the
        others, those that are no negatives count exp(0) = 1 unless excluded. The released weights were trained so.
        """
        is_positive = (positives.tube_ious - positives.iou).abs() <= SAME_IOU
        is_masked = ~is_positive & (positives.tube_ious >= self.negative_video_iou)
        cosine = torch.where(is_positive, own - self.margin, own)
        return (cosine / self.tau_sent).masked_fill(is_masked, self.masked_logit)


class TubeCriterion:
    """All losses of a batch of tubes, unweighted; the arguments are those of `GroundingCriterion`."""

    def __init__(self, min_iou: float, max_iou: float, matching: TubeMatchingLoss, gather_negatives: bool = False):
        self.min_iou = min_iou
        self.max_iou = max_iou
        self.matching = matching
        self.gather_negatives = gather_negatives

    def __call__(self, output: GroundingOutput, batch: TubeBatch) -> dict[str, Tensor]:
        """Scalars float32: `vid`, `sent`, means over sentences, and `iou`, the mean over all cells of all tubes."""
        cosine = tube_cosines(output.sentences_iou, output.moments_iou, batch.tubes)
        iou = scaled_iou_loss(cosine, batch.ious, self.min_iou, self.max_iou)
        negatives = collect_tube_negatives(output, self.gather_negatives)
        vid, sent = self.matching(negatives, find_positives(batch.ious, batch.tubes, negatives.first_own_tube))
        # Without gathering these are the means over the process's own sentences and tubes.
        factor = comm.get_world_size() if self.gather_negatives else 1
        per_sentence, per_tube = factor / len(negatives.sentences), factor / len(negatives.moments)
        return {"vid": vid.sum() * per_sentence, "sent": sent.sum() * per_sentence, "iou": iou.sum() * per_tube}
