"""The wiring of the network. It embeds; it knows neither losses nor epochs."""

from typing import NamedTuple

from torch import Tensor, nn

from mmn.modeling.scoring import iou_score, own_video_cosines, unit_vectors
from mmn.structures.batch import Batch, RowLayout


class GroundingOutput(NamedTuple):
    """Unit vectors of all moments and sentences in the two joint spaces.

    Attributes:
        moments_contrastive, moments_iou: [B, M, C].
        sentences_contrastive, sentences_iou: [S, C].
    """

    moments_contrastive: Tensor
    moments_iou: Tensor
    sentences_contrastive: Tensor
    sentences_iou: Tensor

    def scores(self, layout: RowLayout) -> tuple[Tensor, Tensor]:
        """Scores (contrastive in [-1, 1], iou in (0, 1)) of each sentence with its own video's cells, each [S, M]."""
        contrastive = own_video_cosines(self.sentences_contrastive, self.moments_contrastive, layout)
        return contrastive, iou_score(own_video_cosines(self.sentences_iou, self.moments_iou, layout))


class MMN(nn.Module):
    """Mutual Matching Network (SPEC section 2; paper section 3)."""

    def __init__(self, featpool: nn.Module, feat2d: nn.Module, text_encoder: nn.Module, proposal_conv: nn.Module):
        super().__init__()
        self.featpool = featpool
        self.feat2d = feat2d
        self.text_encoder = text_encoder
        self.proposal_conv = proposal_conv

    def encode_videos(self, feats: Tensor) -> tuple[Tensor, Tensor]:
        """Resampled features [B, P, D] -> unit vectors of the valid cells (contrastive, iou), each [B, M, C]."""
        contrastive, iou = self.proposal_conv(self.feat2d(self.featpool(feats)))
        return unit_vectors(contrastive), unit_vectors(iou)

    def encode_sentences(self, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens, token_mask [U, L] int64 -> unit vectors of the sentences (contrastive, iou), each [U, C]."""
        contrastive, iou = self.text_encoder(tokens, token_mask)
        return unit_vectors(contrastive), unit_vectors(iou)

    def forward(self, batch: Batch) -> GroundingOutput:
        """Unit vectors of the cells of all videos (of tubes, for HC-STVG) and of the S sentences."""
        sentences = self.encode_sentences(batch.tokens, batch.token_mask)
        return GroundingOutput(*self.encode_videos(batch.feats), *(rows[batch.token_rows] for rows in sentences))
