"""MMN as SPEC describes it, in its plainest form: dense maps, a loop over videos, a loop over sentences.

This is the yardstick of `tools/benchmark.py` and an oracle in the tests; nothing else uses it. It works on the modules
of an `MMN`, so that both forms share every weight.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from mmn.modeling.mmn import MMN
from mmn.modeling.proposal_conv import ProposalConv
from mmn.structures.batch import GroundingBatch
from mmn.structures.proposals import ProposalCells


def iou_map(moment: Tensor, duration: float, num_clips: int) -> Tensor:
    """The dense IoU map [N, N] of one moment (start, end) in seconds (SPEC section 1)."""
    starts = torch.arange(num_clips, dtype=torch.float32)[:, None] * duration / num_clips
    ends = torch.arange(1, num_clips + 1, dtype=torch.float32)[None] * duration / num_clips
    overlap = (torch.min(ends, moment[1]) - torch.max(starts, moment[0])).clamp(min=0)
    return overlap / (torch.max(ends, moment[1]) - torch.min(starts, moment[0]))


def video_map(model: MMN, cells: ProposalCells, feats: Tensor) -> Tensor:
    """feats [B, P, D] -> the dense proposal map [B, H, N, N], built cell sequence by cell sequence."""
    clips = model.featpool(feats)
    num_clips = clips.shape[-1]
    dense = clips.new_zeros(*clips.shape, num_clips)
    diagonal = torch.arange(num_clips, device=clips.device)
    dense[:, :, diagonal, diagonal] = clips
    running = clips
    for index, step in enumerate(cells.steps):
        running = model.feat2d.reduce(running, index)
        starts = torch.arange(0, num_clips - step.offset, step.stride, device=clips.device)
        dense[:, :, starts, starts + step.offset] = running
    return dense


def dense_proposals(conv: ProposalConv, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Proposal map [B, H, N, N] -> unit vectors (contrastive, iou), each [B, C, N, N], of all N x N cells."""
    contrastive, iou = conv.dense_maps(dense)
    return F.normalize(contrastive, dim=1), F.normalize(iou, dim=1)


def encode_sentences(model: MMN, batch: GroundingBatch) -> tuple[list[Tensor], list[Tensor]]:
    """Unit vectors (contrastive, iou) of each video's sentences, [S_b, C] per video; one forward per video."""
    contrastive, iou = [], []
    for video in range(len(batch.feats)):
        rows = batch.token_rows[batch.video_index == video]
        mask = batch.token_mask[rows]
        length = int(mask.sum(dim=1).max())
        pair = model.text_encoder(batch.tokens[rows, :length], mask[:, :length])
        contrastive.append(F.normalize(pair[0], dim=1))
        iou.append(F.normalize(pair[1], dim=1))
    return contrastive, iou


def score_maps(
    sentences: tuple[list[Tensor], list[Tensor]], proposals: tuple[Tensor, Tensor], mask: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Dense score maps (contrastive, iou) of each video's sentences with it, [S_b, N, N], zero outside the mask."""
    contrastive, iou = [], []
    for video, (own_contrastive, own_iou) in enumerate(zip(*sentences, strict=True)):
        cosine = torch.einsum("sc,cij->sij", own_contrastive, proposals[0][video])
        contrastive.append(cosine * mask)
        iou.append((10 * torch.einsum("sc,cij->sij", own_iou, proposals[1][video])).sigmoid() * mask)
    return contrastive, iou


class PlainLosses:
    """The three losses of SPEC section 3, one sentence at a time.

    Args:
        loss: the config section MODEL.MMN.LOSS.
        mask: [N, N] bool, the valid cells.
    """

    def __init__(self, loss, mask: Tensor):
        self.loss = loss
        self.mask = mask

    def __call__(
        self,
        sentences: list[Tensor],
        proposals: Tensor,
        iou_scores: list[Tensor],
        iou_maps: list[Tensor],
        moments: list[Tensor],
    ) -> dict[str, Tensor]:
        """Scalars vid, sent, iou.

        Args:
            sentences: [S_b, C] unit vectors per video. proposals: [B, C, N, N] unit vectors.
            iou_scores, iou_maps: [S_b, N, N] per video. moments: [S_b, 2] seconds per video.
        """
        flat = proposals[:, :, self.mask].transpose(1, 2)  # [B, M, C]
        vid, sent, bce = [], [], []
        for video, (queries, maps) in enumerate(zip(sentences, iou_maps, strict=True)):
            for number, query in enumerate(queries):
                ious = maps[number][self.mask]
                for cell in ious.topk(self.loss.NUM_POSTIVE_VIDEO_PROPOSAL).indices:
                    positive = flat[video, cell]
                    vid.append(self.video_to_sentence(positive, sentences, moments, video, number))
                    sent.append(self.sentence_to_video(query, positive, flat, ious, video))
                bce.append(self.scaled_iou(iou_scores[video][number][self.mask], ious))
        return {"vid": torch.stack(vid).mean(), "sent": torch.stack(sent).mean(), "iou": torch.stack(bce).mean()}

    def scaled_iou(self, scores: Tensor, ious: Tensor) -> Tensor:
        target = ((ious - self.loss.MIN_IOU) / (self.loss.MAX_IOU - self.loss.MIN_IOU)).clamp(0, 1)
        return F.binary_cross_entropy(scores, target)

    def video_to_sentence(
        self, positive: Tensor, sentences: list[Tensor], moments: list[Tensor], video: int, number: int
    ) -> Tensor:
        """One positive moment [C] of sentence `number` of `video` against all sentences of the batch."""
        tau, margin = self.loss.TAU_VIDEO, self.loss.MARGIN
        numerator = ((positive @ sentences[video][number] - margin) / tau).exp()
        denominator = numerator
        for other_video, queries in enumerate(sentences):
            terms = (queries @ positive / tau).exp()
            if other_video == video:
                own = moments[video][number]
                overlap = torch.min(moments[video][:, 1], own[1]) - torch.max(moments[video][:, 0], own[0])
                hull = torch.max(moments[video][:, 1], own[1]) - torch.min(moments[video][:, 0], own[0])
                keep = overlap.clamp(min=0) / hull < self.loss.SENT_REMOVAL_IOU
                keep[number] = False  # the sentence itself is the numerator
                terms = terms[keep]
            denominator = denominator + terms.sum()
        return -(numerator / denominator).log()

    def sentence_to_video(self, query: Tensor, positive: Tensor, flat: Tensor, ious: Tensor, video: int) -> Tensor:
        """One sentence [C] and one of its positives [C] against all moments [B, M, C] of the batch."""
        tau, margin = self.loss.TAU_SENT, self.loss.MARGIN
        numerator = ((query @ positive - margin) / tau).exp()
        denominator = numerator
        for other_video, moments in enumerate(flat):
            cosine = moments @ query
            if other_video == video:
                is_negative = ious < self.loss.NEGATIVE_VIDEO_IOU
                cosine = cosine * is_negative if self.loss.MASKED_NEGATIVES == "ones" else cosine[is_negative]
            denominator = denominator + (cosine / tau).exp().sum()
        return -(numerator / (denominator + 1e-6)).log()


def rank_moments(score_map: Tensor, duration: float, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Greedy NMS over one dense score map [N, N]: all survivors as moments [n, 2] seconds and scores [n], best first."""
    num_clips = len(score_map)
    cells = score_map.nonzero()
    scores, order = score_map[cells[:, 0], cells[:, 1]].sort(descending=True)
    moments = (cells[order] + torch.tensor([0, 1])).float() * duration / num_clips
    suppressed = torch.zeros(len(moments), dtype=torch.bool)
    for index in range(len(moments) - 1):
        if suppressed[index]:
            continue
        start, end = moments[index]
        rest = moments[index + 1 :]
        overlap = (torch.min(rest[:, 1], end) - torch.max(rest[:, 0], start)).clamp(min=0)
        hull = torch.max(rest[:, 1], end) - torch.min(rest[:, 0], start)
        suppressed[index + 1 :][overlap / hull > iou_threshold] = True
    return moments[~suppressed], scores[~suppressed]


def recall_hits(moments: Tensor, truth: Tensor, thresholds: tuple[float, ...]) -> list[list[bool]]:
    """For one sentence, whether one of its first 1 and of its first 5 moments reaches each IoU threshold."""
    overlap = (torch.min(moments[:, 1], truth[1]) - torch.max(moments[:, 0], truth[0])).clamp(min=0)
    ious = overlap / (torch.max(moments[:, 1], truth[1]) - torch.min(moments[:, 0], truth[0]))
    return [[bool((ious[:rank] >= threshold).any()) for threshold in thresholds] for rank in (1, 5)]
