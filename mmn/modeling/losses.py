"""The training losses (SPEC section 3; paper section 3.3). Shapes: see the legend in `mmn.modeling`.

Everything is computed on the valid cells, for all videos at once. Where negatives are shared between processes, "all"
means the videos or sentences of all processes, otherwise those of the batch.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.scoring import IOU_SCORE_SCALE, own_video_cosines
from mmn.structures.batch import GroundingBatch
from mmn.structures.moments import cell_ious, temporal_iou
from mmn.structures.proposals import ProposalCells
from mmn.utils import comm

DENOMINATOR_EPSILON = 1e-6  # in the sentence -> video denominator


def scaled_iou_loss(cosine: Tensor, ious: Tensor, min_iou: float, max_iou: float) -> Tensor:
    """Binary cross-entropy of the iou score sigmoid(10 cos) against the IoU scaled from [min, max] to [0, 1].

    Args:
        cosine, ious: [S, M], of sentences with the valid cells of their own videos.
    Returns:
        [S], the mean over the cells.
    """
    target = ((ious - min_iou) / (max_iou - min_iou)).clamp(0, 1)
    # From the logits: log(1 - sigmoid) of a confident score has no digits left in float32.
    return F.binary_cross_entropy_with_logits(IOU_SCORE_SCALE * cosine, target, reduction="none").mean(dim=1)


class Negatives(NamedTuple):
    """What sentences and their positives are contrasted with.

    Attributes:
        moments: [B', M, C] unit vectors of all videos.
        sentences: [S', C] unit vectors of all sentences.
        sentence_moments: [S', 2] seconds, what they describe.
        sentence_videos: [S'] int64, their videos, as rows of `moments`.
        own: [S] int64, which of the S' sentences are this process's.
    """

    moments: Tensor
    sentences: Tensor
    sentence_moments: Tensor
    sentence_videos: Tensor
    own: Tensor


def collect_negatives(output: GroundingOutput, batch: GroundingBatch, gather: bool) -> Negatives:
    """The negatives of this process's batch, or with `gather` those of all processes (gradients included)."""
    moments, sentences = output.moments_contrastive, output.sentences_contrastive
    own = torch.arange(len(sentences), device=sentences.device)
    if not gather or comm.get_world_size() == 1:
        return Negatives(moments, sentences, batch.moments, batch.video_index, own)
    video_counts, sentence_counts = comm.row_counts(moments), comm.row_counts(sentences)
    first_video = sum(video_counts[: comm.get_rank()])
    first_sentence = sum(sentence_counts[: comm.get_rank()])
    return Negatives(
        comm.gather_rows(moments, video_counts),
        comm.gather_rows(sentences, sentence_counts),
        comm.gather_rows(batch.moments, sentence_counts),
        comm.gather_rows(batch.video_index + first_video, sentence_counts),
        own + first_sentence,
    )


class MutualMatchingLoss:
    """The two contrastive losses.

    Args:
        num_positives: K, the positives of a sentence: its cells of highest IoU.
        margin: taken off the cosine of a positive pair.
        tau_video, tau_sent: temperatures of video -> sentence and sentence -> video.
        negative_video_iou: cells of the own video are negatives where their IoU with the moment is below this.
        sent_removal_iou: other sentences of the own video are left out where their moment's IoU is at least this.
        masked_negatives: "ones" or "exclude", see MODEL.MMN.LOSS.MASKED_NEGATIVES.
    """

    def __init__(
        self,
        num_positives: int,
        margin: float,
        tau_video: float,
        tau_sent: float,
        negative_video_iou: float,
        sent_removal_iou: float,
        masked_negatives: str,
    ):
        self.num_positives = num_positives
        self.margin = margin
        self.tau_video = tau_video
        self.tau_sent = tau_sent
        self.negative_video_iou = negative_video_iou
        self.sent_removal_iou = sent_removal_iou
        self.masked_logit = {"ones": 0.0, "exclude": -math.inf}[masked_negatives]

    def __call__(self, negatives: Negatives, ious: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (video -> sentence, sentence -> video) of this process's S sentences, each [S], means over positives.

        Args:
            ious: [S, M] of the sentences' moments with the valid cells of their own videos.
        """
        # The choice of topk among exact ties is part of the released behaviour: keep the call as it is.
        positives = ious.topk(self.num_positives, dim=1).indices  # [S, K]
        return self.video_to_sentence(negatives, positives), self.sentence_to_video(negatives, positives, ious)

    def video_to_sentence(self, negatives: Negatives, positives: Tensor) -> Tensor:
        """Each positive moment against all sentences. positives: [S, K] cells of the own video -> [S]."""
        videos = negatives.sentence_videos[negatives.own]
        moments = negatives.moments[videos[:, None], positives]  # [S, K, C]
        cosine = moments @ negatives.sentences.T  # [S, K, S']
        is_own = negatives.own[:, None] == torch.arange(len(negatives.sentences), device=cosine.device)
        logits = (cosine - self.margin * is_own[:, None]) / self.tau_video
        positive = logits.gather(2, negatives.own[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(2)
        removed = self._overlapping_sentences(negatives, videos) & ~is_own
        denominator = logits.masked_fill(removed[:, None], -math.inf).logsumexp(dim=2)
        return (denominator - positive).mean(dim=1)

    def _overlapping_sentences(self, negatives: Negatives, videos: Tensor) -> Tensor:
        """[S, S'] True for sentences of the same video whose moments overlap enough to describe the same."""
        own_moments = negatives.sentence_moments[negatives.own]
        iou = temporal_iou(own_moments[:, None], negatives.sentence_moments)
        return (videos[:, None] == negatives.sentence_videos) & (iou >= self.sent_removal_iou)

    def sentence_to_video(self, negatives: Negatives, positives: Tensor, ious: Tensor) -> Tensor:
        """Each sentence against all moments. positives: [S, K], ious: [S, M], both of the own video -> [S]."""
        num_videos, num_cells, _ = negatives.moments.shape
        sentences = negatives.sentences[negatives.own]
        videos = negatives.sentence_videos[negatives.own]
        rows = torch.arange(len(sentences), device=videos.device)
        cosine = (sentences @ negatives.moments.flatten(0, 1).T).view(-1, num_videos, num_cells)  # [S, B', M]
        own = cosine[rows, videos]  # [S, M]
        positive = (own.gather(1, positives) - self.margin) / self.tau_sent  # [S, K]
        # A cell of the own video that is no negative counts exp(0) = 1 unless it is excluded; a positive that is itself
        # below the IoU counts again as a negative. The released weights were trained so.
        own_logits = (own / self.tau_sent).masked_fill(ious >= self.negative_video_iou, self.masked_logit)
        logits = (cosine / self.tau_sent).index_put((rows, videos), own_logits)
        others = logits.flatten(1).logsumexp(dim=1, keepdim=True)
        others = torch.logaddexp(others, torch.full_like(others, math.log(DENOMINATOR_EPSILON)))
        return (torch.logaddexp(positive, others) - positive).mean(dim=1)


class GroundingCriterion:
    """All losses of a batch, unweighted. cfg's phases and factors are applied by the engine.

    Args:
        cells: the proposal map's cells.
        min_iou, max_iou: IoU range of the IoU head's targets.
        matching: the contrastive losses.
        gather_negatives: share negatives across processes. Then every loss is this process's part of the mean over all
            processes' sentences times the world size, so that averaging gradients over processes gives the gradient
            that one process with the whole batch would have.
    """

    def __init__(
        self,
        cells: ProposalCells,
        min_iou: float,
        max_iou: float,
        matching: MutualMatchingLoss,
        gather_negatives: bool = False,
    ):
        self.cells = cells
        self.min_iou = min_iou
        self.max_iou = max_iou
        self.matching = matching
        self.gather_negatives = gather_negatives

    def __call__(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Scalars float32: `vid` (video -> sentence), `sent` (sentence -> video), `iou`; means over sentences."""
        ious = cell_ious(self.cells, batch.moments, batch.sentence_durations)
        cosine = own_video_cosines(output.sentences_iou, output.moments_iou, batch.layout)
        negatives = collect_negatives(output, batch, self.gather_negatives)
        vid, sent = self.matching(negatives, ious)
        iou = scaled_iou_loss(cosine, ious, self.min_iou, self.max_iou)
        # Without gathering S' is S and this is the mean.
        weight = (comm.get_world_size() if self.gather_negatives else 1) / len(negatives.sentences)
        return {"vid": vid.sum() * weight, "sent": sent.sum() * weight, "iou": iou.sum() * weight}
