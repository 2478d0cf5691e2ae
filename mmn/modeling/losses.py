"""The training losses (SPEC section 3; paper section 3.3). Shapes: see the legend in `mmn.modeling`.

Everything is computed on the valid cells, for all videos at once. Where negatives are shared between processes, "all"
means the videos or sentences of all processes, otherwise those of the batch; a memory bank adds those of past steps.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmn.modeling.memory_bank import MemoryBank, PastVideos, video_keys
from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.scoring import IOU_SCORE_SCALE, own_video_cosines
from mmn.structures.batch import GroundingBatch
from mmn.structures.moments import cell_ious, temporal_iou
from mmn.structures.proposals import ProposalCells
from mmn.utils import comm

DENOMINATOR_EPSILON = 1e-6  # in the sentence -> video denominator
NOTHING = -1e30  # a logit that adds nothing to a denominator; finite, so that nothing but such has a gradient, 0


def scaled_iou_loss(cosine: Tensor, ious: Tensor, min_iou: float, max_iou: float) -> Tensor:
    """Binary cross-entropy of the iou score sigmoid(10 cos) against the IoU scaled from [min, max] to [0, 1].

    Args:
        cosine, ious: [S, M], of sentences with the valid cells of their own videos.
    Returns:
        [S], the mean over the cells.
    """
    target = scaled_ious(ious, min_iou, max_iou).to(cosine.dtype)
    # From the logits: log(1 - sigmoid) of a confident score has no digits left in float32.
    return F.binary_cross_entropy_with_logits(IOU_SCORE_SCALE * cosine, target, reduction="none").mean(dim=1)


def scaled_ious(ious: Tensor, min_iou: float, max_iou: float) -> Tensor:
    """IoUs of any shape, scaled from [min, max] to [0, 1] and cut there: the targets of a score (SPEC section 3)."""
    return ((ious - min_iou) / (max_iou - min_iou)).clamp(0, 1)


class Negatives(NamedTuple):
    """The vectors that sentences and their positives are contrasted with.

    Attributes:
        moments: [B', M, C] unit vectors of all videos.
        sentences: [S', C] unit vectors of all sentences.
        sentence_moments: [S', 2] seconds, what they describe.
        sentence_videos: [S'] int64, their videos, as rows of `moments`.
        own: [S] int64, which of the S' sentences are this process's.
        past_selves: [S, B'] bool, True where a video of the memory bank is an own sentence's video itself, as it was in
            an earlier step; None without a bank.
    """

    moments: Tensor
    sentences: Tensor
    sentence_moments: Tensor
    sentence_videos: Tensor
    own: Tensor
    past_selves: Tensor | None = None

    @property
    def own_videos(self) -> Tensor:
        """[S] int64, the videos of this process's sentences."""
        return self.sentence_videos[self.own]


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


def present_videos(negatives: Negatives, batch: GroundingBatch, gather: bool) -> PastVideos:
    """The negatives of this step as a memory bank keeps them; `gather` as in `collect_negatives`."""
    keys = video_keys(batch.video_ids).to(negatives.moments.device)
    if gather:
        keys = comm.gather_rows(keys, comm.row_counts(keys))
    return PastVideos(negatives.moments, negatives.sentences, negatives.sentence_videos, keys)


def with_past(negatives: Negatives, past: PastVideos | None, keys: Tensor) -> Negatives:
    """The negatives of this step, then those of the memory bank.

    Args:
        past: the bank's content; None while it is empty.
        keys: [B'] int64, of the videos of this step (see `video_keys`).
    """
    if past is None:
        return negatives
    num_videos = len(negatives.moments)
    past_selves = keys[negatives.own_videos, None] == past.keys
    return negatives._replace(
        moments=torch.cat([negatives.moments, past.moments]),
        sentences=torch.cat([negatives.sentences, past.sentences]),
        # What a past sentence describes is compared with nothing: no video of this step is its video.
        sentence_moments=F.pad(negatives.sentence_moments, (0, 0, 0, len(past.sentences))),
        sentence_videos=torch.cat([negatives.sentence_videos, past.sentence_videos + num_videos]),
        past_selves=F.pad(past_selves, (num_videos, 0)),
    )


# ---- The kinds of negatives, a mask each (paper section 3.3) ---------------------------------------------------------


@dataclass(frozen=True)
class NegativeKinds:
    """Kinds of negatives that take part, see MODEL.MMN.LOSS.NEGATIVES."""

    same_video_sentences: bool = True
    other_video_sentences: bool = True
    same_video_moments: bool = True
    other_video_moments: bool = True


def own_sentences(negatives: Negatives) -> Tensor:
    """[S, S'] True where a sentence meets itself."""
    return negatives.own[:, None] == torch.arange(len(negatives.sentences), device=negatives.own.device)


def same_video_sentences(negatives: Negatives, removal_iou: float) -> Tensor:
    """[S, S'] True for sentences of the same video whose moments overlap by less than `removal_iou`.

    Those that overlap more may describe the same, and are neither positive nor negative.
    """
    iou = temporal_iou(negatives.sentence_moments[negatives.own][:, None], negatives.sentence_moments)
    return (negatives.own_videos[:, None] == negatives.sentence_videos) & (iou < removal_iou)


def other_video_sentences(negatives: Negatives) -> Tensor:
    """[S, S'] True for sentences of other videos, those of the memory bank included."""
    others = negatives.own_videos[:, None] != negatives.sentence_videos
    if negatives.past_selves is None:
        return others
    return others & ~negatives.past_selves[:, negatives.sentence_videos]


def same_video_moments(ious: Tensor, negative_iou: float) -> Tensor:
    """[S, M] True for cells of the own video whose IoU with the sentence's moment is below `negative_iou`."""
    return ious < negative_iou


class MutualMatchingLoss:
    """The two contrastive losses.

    Args:
        num_positives: K, the positives of a sentence: its cells of highest IoU.
        margin: taken off the cosine of a positive pair.
        tau_video, tau_sent: temperatures of video -> sentence and sentence -> video.
        negative_video_iou: cells of the own video are negatives where their IoU with the moment is below this.
        sent_removal_iou: other sentences of the own video are left out where their moment's IoU is at least this.
        masked_negatives: "ones" or "exclude", see MODEL.MMN.LOSS.MASKED_NEGATIVES.
        kinds: the kinds of negatives that take part.
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
        kinds: NegativeKinds = NegativeKinds(),
    ):
        self.num_positives = num_positives
        self.margin = margin
        self.tau_video = tau_video
        self.tau_sent = tau_sent
        self.negative_video_iou = negative_video_iou
        self.sent_removal_iou = sent_removal_iou
        self.masked_logit = {"ones": 0.0, "exclude": NOTHING}[masked_negatives]
        self.kinds = kinds

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
        moments = negatives.moments[negatives.own_videos[:, None], positives]  # [S, K, C]
        cosine = moments @ negatives.sentences.T  # [S, K, S']
        is_own = own_sentences(negatives)
        logits = torch.where(is_own[:, None], cosine - self.margin, cosine) / self.tau_video
        positive = logits.gather(2, negatives.own[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(2)
        kept = is_own
        if self.kinds.same_video_sentences:
            kept = kept | same_video_sentences(negatives, self.sent_removal_iou)
        if self.kinds.other_video_sentences:
            kept = kept | other_video_sentences(negatives)
        denominator = logits.masked_fill(~kept[:, None], NOTHING).logsumexp(dim=2)
        return (denominator - positive).mean(dim=1)

    def sentence_to_video(self, negatives: Negatives, positives: Tensor, ious: Tensor) -> Tensor:
        """Each sentence against all moments. positives: [S, K], ious: [S, M], both of the own video -> [S]."""
        num_videos, num_cells, _ = negatives.moments.shape
        sentences, videos = negatives.sentences[negatives.own], negatives.own_videos
        rows = torch.arange(len(sentences), device=videos.device)
        cosine = (sentences @ negatives.moments.flatten(0, 1).T).view(-1, num_videos, num_cells)  # [S, B', M]
        own = cosine[rows, videos]  # [S, M]
        positive = (own.gather(1, positives) - self.margin) / self.tau_sent  # [S, K]
        logits = self._other_video_logits(negatives, cosine)
        logits = logits.index_put((rows, videos), self._same_video_logits(own, ious))
        others = logits.flatten(1).logsumexp(dim=1, keepdim=True)
        others = torch.logaddexp(others, torch.full_like(others, math.log(DENOMINATOR_EPSILON)))
        return (torch.logaddexp(positive, others) - positive).mean(dim=1)

    def _same_video_logits(self, own: Tensor, ious: Tensor) -> Tensor:
        """cosines and IoUs with the cells of the own video, [S, M] each -> what these add to the denominator, as logits.

        A cell that is no negative counts exp(0) = 1 unless it is excluded; a positive that is itself below the IoU counts
        again as a negative. The released weights were trained so.
        """
        if not self.kinds.same_video_moments:
            return torch.full_like(own, NOTHING)
        return (own / self.tau_sent).masked_fill(~same_video_moments(ious, self.negative_video_iou), self.masked_logit)

    def _other_video_logits(self, negatives: Negatives, cosine: Tensor) -> Tensor:
        """cosines [S, B', M] with the cells of all videos -> logits; those of the own video are yet to be replaced."""
        if not self.kinds.other_video_moments:
            return torch.full_like(cosine, NOTHING)
        logits = cosine / self.tau_sent
        if negatives.past_selves is None:
            return logits
        return logits.masked_fill(negatives.past_selves[:, :, None], NOTHING)


class GroundingCriterion:
    """All losses of a batch, unweighted. cfg's phases and factors are applied by the engine.

    Args:
        cells: the proposal map's cells.
        min_iou, max_iou: IoU range of the IoU head's targets.
        matching: the contrastive losses.
        gather_negatives: share negatives across processes. Then every loss is this process's part of the mean over all
            processes' sentences times the world size, so that averaging gradients over processes gives the gradient
            that one process with the whole batch would have.
        memory: videos of past steps that are negatives too. The engine settles it after every step.
    """

    def __init__(
        self,
        cells: ProposalCells,
        min_iou: float,
        max_iou: float,
        matching: MutualMatchingLoss,
        gather_negatives: bool = False,
        memory: MemoryBank | None = None,
    ):
        self.cells = cells
        self.min_iou = min_iou
        self.max_iou = max_iou
        self.matching = matching
        self.gather_negatives = gather_negatives
        self.memory = memory

    def __call__(self, output: GroundingOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """Scalars float32: `vid` (video -> sentence), `sent` (sentence -> video), `iou`; means over sentences."""
        ious = cell_ious(self.cells, batch.moments, batch.sentence_durations)
        cosine = own_video_cosines(output.sentences_iou, output.moments_iou, batch.layout)
        negatives = collect_negatives(output, batch, self.gather_negatives)
        # By the sentences of this step, without the bank's. Where nothing is gathered, S' is S and this is the mean.
        weight = (comm.get_world_size() if self.gather_negatives else 1) / len(negatives.sentences)
        if self.memory is not None:
            present = present_videos(negatives, batch, self.gather_negatives)
            negatives = with_past(negatives, self.memory.content, present.keys)
            self.memory.offer(present)
        vid, sent = self.matching(negatives, ious)
        iou = scaled_iou_loss(cosine, ious, self.min_iou, self.max_iou)
        return {"vid": vid.sum() * weight, "sent": sent.sum() * weight, "iou": iou.sum() * weight}
