"""The training losses (SPEC section 3; paper section 3.3). Shapes: see the legend in `mmn.modeling`.

Everything is computed on the valid cells, for all videos at once. Where negatives are shared between processes, "all"
means the videos or sentences of all processes, otherwise those of the batch; a memory bank adds those of past steps.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmn.modeling.memory_bank import MemoryBank, PastVideos, video_keys
from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.scoring import IOU_SCORE_SCALE, own_video_cosines
from mmn.structures.batch import GroundingBatch, RowLayout
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
        sentence_videos: [S'] int64, their videos, as rows of `moments`.
        truth: [W', 2] seconds, the true moments of the sentences of this step, those of a sentence one after another.
        truth_sentences: [W'] int64, whose they are, as rows of `sentences`.
        own: [S] int64, which of the S' sentences are this process's.
        own_truth: [W] int64, which of the W' true moments are theirs.
        own_layout: which of these belongs to which of the own sentences.
        past_selves: [S, B'] bool, True where a video of the memory bank is an own sentence's video itself, as it was in
            an earlier step; None without a bank.
    """

    moments: Tensor
    sentences: Tensor
    sentence_videos: Tensor
    truth: Tensor
    truth_sentences: Tensor
    own: Tensor
    own_truth: Tensor
    own_layout: RowLayout
    past_selves: Tensor | None = None

    @property
    def own_videos(self) -> Tensor:
        """[S] int64, the videos of this process's sentences."""
        return self.sentence_videos[self.own]


def collect_negatives(output: GroundingOutput, batch: GroundingBatch, gather: bool) -> Negatives:
    """The negatives of this process's batch, or with `gather` those of all processes (gradients included)."""
    moments, sentences = output.moments_contrastive, output.sentences_contrastive
    truth, layout = batch.moments, batch.moment_layout
    own, own_truth = (torch.arange(len(rows), device=rows.device) for rows in (sentences, truth))
    if not gather or comm.get_world_size() == 1:
        return Negatives(moments, sentences, batch.video_index, truth, layout.owner, own, own_truth, layout)
    counts = [comm.row_counts(len(rows)) for rows in (moments, sentences, truth)]
    first_video, first_sentence, first_truth = (sum(parts[: comm.get_rank()]) for parts in counts)
    video_counts, sentence_counts, truth_counts = counts
    return Negatives(
        comm.gather_rows(moments, video_counts),
        comm.gather_rows(sentences, sentence_counts),
        comm.gather_rows(batch.video_index + first_video, sentence_counts),
        comm.gather_rows(truth, truth_counts),
        comm.gather_rows(layout.owner + first_sentence, truth_counts),
        own + first_sentence,
        own_truth + first_truth,
        layout,
    )


def present_videos(negatives: Negatives, batch: GroundingBatch, gather: bool) -> PastVideos:
    """The negatives of this step as a memory bank keeps them; `gather` as in `collect_negatives`."""
    counts, keys = batch.layout.counts, video_keys(batch.video_ids)
    if gather:
        shares = comm.all_gather_objects((counts, keys))
        counts, keys = (tuple(itertools.chain(*values)) for values in zip(*shares, strict=True))
    return PastVideos(negatives.moments, negatives.sentences, counts, keys)


def with_past(negatives: Negatives, past: PastVideos | None, keys: Sequence[int]) -> Negatives:
    """The negatives of this step, then those of the memory bank.

    Args:
        past: the bank's content; None while it is empty.
        keys: B' numbers, of the videos of this step (see `video_keys`).
    """
    if past is None:
        return negatives
    num_videos = len(negatives.moments)
    past_selves = past.same_videos(keys)[negatives.own_videos]
    return negatives._replace(
        moments=torch.cat([negatives.moments, past.moments]),
        sentences=torch.cat([negatives.sentences, past.sentences]),
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
    """[S, S'] True for sentences of the same video of which no moment overlaps one of the sentence's by `removal_iou`.

    Those that overlap more may describe the same, and are neither positive nor negative.
    """
    overlaps = highest_overlaps(negatives) < removal_iou
    return (negatives.own_videos[:, None] == negatives.sentence_videos) & overlaps


def highest_overlaps(negatives: Negatives) -> Tensor:
    """[S, S'] the highest IoU of a true moment of an own sentence with one of any sentence.

    It is 0 for those of the memory bank, whose moments are not kept: no video of this step is theirs.
    """
    ious = temporal_iou(negatives.truth[negatives.own_truth][:, None], negatives.truth)  # [W, W']
    if len(negatives.truth) != len(negatives.sentences):
        of_sentences = ious.new_zeros(len(ious), len(negatives.sentences))
        ious = of_sentences.scatter_reduce(1, negatives.truth_sentences.expand_as(ious), ious, "amax")  # [W, S']
    return negatives.own_layout.highest(ious)


def other_video_sentences(negatives: Negatives) -> Tensor:
    """[S, S'] True for sentences of other videos, those of the memory bank included."""
    others = negatives.own_videos[:, None] != negatives.sentence_videos
    if negatives.past_selves is None:
        return others
    return others & ~negatives.past_selves[:, negatives.sentence_videos]


def same_video_moments(ious: Tensor, negative_iou: float) -> Tensor:
    """[S, M] True for cells of the own video whose IoU with every moment of the sentence is below `negative_iou`."""
    return ious < negative_iou


class MutualMatchingLoss:
    """The two contrastive losses.

    Args:
        num_positives: K, the positives of a true moment: its cells of highest IoU.
        margin: taken off the cosine of a positive pair.
        tau_video, tau_sent: temperatures of video -> sentence and sentence -> video.
        negative_video_iou: cells of the own video are negatives where their IoU with every true moment is below this.
        sent_removal_iou: other sentences of the own video are left out where an IoU of true moments is at least this.
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
        """Losses (video -> sentence, sentence -> video) of this process's W true moments, each [W], means over positives.

        Args:
            ious: [W, M] of the true moments with the valid cells of their own videos.
        """
        # The choice of topk among exact ties is part of the released behaviour: keep the call as it is.
        positives = ious.topk(self.num_positives, dim=1).indices  # [W, K]
        highest = negatives.own_layout.highest(ious)
        return self.video_to_sentence(negatives, positives), self.sentence_to_video(negatives, positives, highest)

    def video_to_sentence(self, negatives: Negatives, positives: Tensor) -> Tensor:
        """Each positive moment against all sentences. positives: [W, K] cells of the own video -> [W]."""
        spread = negatives.own_layout.spread
        moments = negatives.moments[spread(negatives.own_videos)[:, None], positives]  # [W, K, C]
        cosine = moments @ negatives.sentences.T  # [W, K, S']
        is_own = own_sentences(negatives)  # [S, S']
        logits = torch.where(spread(is_own)[:, None], cosine - self.margin, cosine) / self.tau_video
        positive = logits.gather(2, spread(negatives.own)[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(2)
        kept = is_own
        if self.kinds.same_video_sentences:
            kept = kept | same_video_sentences(negatives, self.sent_removal_iou)
        if self.kinds.other_video_sentences:
            kept = kept | other_video_sentences(negatives)
        denominator = logits.masked_fill(~spread(kept)[:, None], NOTHING).logsumexp(dim=2)
        return (denominator - positive).mean(dim=1)

    def sentence_to_video(self, negatives: Negatives, positives: Tensor, ious: Tensor) -> Tensor:
        """Each sentence against all moments, once for each positive.

        Args:
            positives: [W, K] cells of the own video.
            ious: [S, M] of the cells of the own video with the best of the sentence's true moments.
        Returns:
            [W]
        """
        spread = negatives.own_layout.spread
        num_videos, num_cells, _ = negatives.moments.shape
        sentences, videos = negatives.sentences[negatives.own], negatives.own_videos
        rows = torch.arange(len(sentences), device=videos.device)
        cosine = (sentences @ negatives.moments.flatten(0, 1).T).view(-1, num_videos, num_cells)  # [S, B', M]
        own = cosine[rows, videos]  # [S, M]
        positive = (spread(own).gather(1, positives) - self.margin) / self.tau_sent  # [W, K]
        logits = self._other_video_logits(negatives, cosine)
        logits = logits.index_put((rows, videos), self._same_video_logits(own, ious))
        others = logits.flatten(1).logsumexp(dim=1, keepdim=True)
        others = torch.logaddexp(others, torch.full_like(others, math.log(DENOMINATOR_EPSILON)))
        return (torch.logaddexp(positive, spread(others)) - positive).mean(dim=1)

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
        """Scalars float32: `vid` (video -> sentence) and `sent` (sentence -> video), means over true moments and their
        positives, and `iou`, a mean over sentences."""
        ious = cell_ious(self.cells, batch.moments, batch.moment_durations)  # [W, M]
        cosine = own_video_cosines(output.sentences_iou, output.moments_iou, batch.layout)
        negatives = collect_negatives(output, batch, self.gather_negatives)
        # Of this step alone, without the bank's. Where nothing is gathered, S' is S, W' is W, and these make the means.
        share = comm.get_world_size() if self.gather_negatives else 1
        per_sentence, per_moment = share / len(negatives.sentences), share / len(negatives.truth)
        if self.memory is not None:
            present = present_videos(negatives, batch, self.gather_negatives)
            negatives = with_past(negatives, self.memory.content, present.keys)
            self.memory.offer(present)
        vid, sent = self.matching(negatives, ious)
        iou = scaled_iou_loss(cosine, batch.moment_layout.highest(ious), self.min_iou, self.max_iou)
        return {"vid": vid.sum() * per_moment, "sent": sent.sum() * per_moment, "iou": iou.sum() * per_sentence}
