"""A dual encoder of images and sentences as a network that grounds: nothing in it was trained to find moments.

A moment's vector is the mean of its frames' vectors, a sentence's that of the text half. The single clips on the map's
diagonal are the frames themselves, from which `mmn.modeling.match_rules` scores a moment against its surroundings.
Shapes: see the legend in `mmn.modeling`; D = C.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from mmn.modeling.mmn import MMN, GroundingOutput
from mmn.modeling.proposal_conv import ProposalConv
from mmn.modeling.scoring import unit_vectors
from mmn.modeling.text_encoder import SentencePooling, TextEncoder
from mmn.structures.batch import Batch
from mmn.structures.proposals import ProposalCells


class FrameMoments(nn.Module):
    """Frames' vectors -> the unit vectors of all moments, each the mean of its clips' unit vectors; no parameters.

    Args:
        cells: the proposal map's cells.
    """

    def __init__(self, cells: ProposalCells):
        super().__init__()
        self.cells = cells

    def forward(self, feats: Tensor) -> Tensor:
        """Resampled features [B, P, C] -> [B, M, C] float32, by cumulative sums in float64: linear in cells."""
        clips = feats.unflatten(1, (self.cells.num_clips, -1)).mean(dim=2)
        sums = F.pad(F.normalize(clips.double(), dim=-1).cumsum(dim=1), (0, 0, 1, 0))
        first, stop = self.cells.bounds_like(feats).long().unbind(dim=1)
        return F.normalize(sums[:, stop] - sums[:, first], dim=-1).float()


class DualEncoder(nn.Module):
    """Image features and sentences in the one space that a dual encoder was trained for, in the place of an MMN.

    Args:
        cells: the proposal map's cells.
        text_encoder: its text half.
    """

    def __init__(self, cells: ProposalCells, text_encoder: SentencePooling):
        super().__init__()
        self.frame_moments = FrameMoments(cells)
        self.text_encoder = text_encoder

    def encode_videos(self, feats: Tensor) -> tuple[Tensor, Tensor]:
        """Resampled image features [B, P, C] -> unit vectors of the valid cells, [B, M, C], the same twice."""
        moments = self.frame_moments(feats)
        return moments, moments

    def encode_sentences(self, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens, token_mask [U, L] int64 -> unit vectors of the sentences, [U, C], the same twice."""
        sentences = F.normalize(self.text_encoder.sentence_vectors(tokens, token_mask).float(), dim=-1)
        return sentences, sentences

    def forward(self, batch: Batch) -> GroundingOutput:
        """Unit vectors of the cells of all videos and of the S sentences."""
        sentences = self.encode_sentences(batch.tokens, batch.token_mask)
        return GroundingOutput(*self.encode_videos(batch.feats), *(rows[batch.token_rows] for rows in sentences))


class DualStartMMN(MMN):
    """An MMN whose contrastive head starts as a dual encoder (MODEL.MMN.DUAL_START).

    The network adds to the vectors of `DualEncoder` what it learns, at first nothing: the last layers of the contrastive
    head begin at 0. The IoU head begins as one vector for all moments, which prefers none. So until a first step, moments
    are ranked as `DualEncoder` ranks them under the same TEST.CONTRASTIVE_RULE.

    Args:
        parts: those of `MMN`.
        cells: the proposal map's cells.
    """

    text_encoder: TextEncoder
    proposal_conv: ProposalConv

    def __init__(self, *parts: nn.Module, cells: ProposalCells):
        super().__init__(*parts)
        self.frame_moments = FrameMoments(cells)
        last_layers = (self.proposal_conv.conv1x1_contrastive, self.text_encoder.fc_out2)
        zeros = [parameter for layer in last_layers if layer is not None for parameter in layer.parameters()]
        for parameter in (*zeros, self.proposal_conv.conv1x1_iou.weight):
            nn.init.zeros_(parameter)

    def encode_videos(self, feats: Tensor) -> tuple[Tensor, Tensor]:
        """Resampled features [B, P, C] -> unit vectors of the valid cells (contrastive, iou), each [B, M, C]."""
        learned, iou = self.proposal_conv(self.feat2d(self.featpool(feats)))
        return unit_vectors(self.frame_moments(feats) + learned), unit_vectors(iou)

    def encode_sentences(self, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens, token_mask [U, L] int64 -> unit vectors of the sentences (contrastive, iou), each [U, C]."""
        pooled = self.text_encoder.sentence_vectors(tokens, token_mask)
        learned, iou = self.text_encoder.project(pooled)
        return unit_vectors(unit_vectors(pooled) + learned), unit_vectors(iou)
