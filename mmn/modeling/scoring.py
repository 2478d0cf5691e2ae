"""Cosine scores between sentences and moments, shared by training and inference (SPEC sections 2 and 5)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mmn.structures.batch import RowLayout

IOU_SCORE_SCALE = 10  # the iou score is sigmoid(10 cos)
SCORES = ("product", "contrastive", "iou")  # the kinds of `final_score`


def unit_vectors(x: Tensor) -> Tensor:
    """L2-normalised over the last dimension, in float32 at least: under autocast x comes in less."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def own_video_cosines(sentences: Tensor, moments: Tensor, layout: RowLayout) -> Tensor:
    """Cosine of every sentence with every moment of its own video.

    Args:
        sentences: [S, C], unit vectors.
        moments: [B, M, C], unit vectors.
        layout: which sentence belongs to which video.
    Returns:
        [S, M]
    """
    # One batched product over padded sentences, in place of a loop over videos.
    return layout.unpad(torch.bmm(layout.pad(sentences), moments.mT))


def iou_score(cosine: Tensor) -> Tensor:
    """The IoU head's cosine -> its estimate of the IoU, in (0, 1)."""
    return torch.sigmoid(IOU_SCORE_SCALE * cosine)


def final_score(contrastive: Tensor, iou: Tensor, contrastive_power: float, kind: str = "product") -> Tensor:
    """The score that moments are ranked by (SPEC section 5), in [0, 1], by the released rule of a match.

    Args:
        contrastive, iou: scores of the two heads, of one shape.
        kind: see `combined_score`.
    """
    return combined_score(cosine_match(contrastive), iou, contrastive_power, kind)


def cosine_match(contrastive: Tensor) -> Tensor:
    """The released rule of `mmn.modeling.match_rules`: a cosine in [-1, 1] -> [0, 1]."""
    # Rounding can take a cosine below -1; a power of that would be NaN.
    return ((contrastive + 1) / 2).clamp(min=0)


def combined_score(match: Tensor, iou: Tensor, contrastive_power: float, kind: str = "product") -> Tensor:
    """The score that moments are ranked by, in [0, 1].

    Args:
        match: in [0, 1], how well moments match the sentence by the contrastive head.
        iou: scores of the IoU head, of one shape with it.
        kind: "product": match ** power * iou, as released; "contrastive": the match, since no power changes its order;
            "iou": the IoU score.
    """
    if kind == "product":
        return match**contrastive_power * iou
    return {"contrastive": match, "iou": iou}[kind]
