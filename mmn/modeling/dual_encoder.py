"""A dual encoder of images and sentences as a network that grounds: nothing in it was trained to find moments.

A moment's vector is the mean of its frames' vectors, a sentence's that of the text half. The single clips on the map's
diagonal are the frames themselves, from which `mmn.modeling.match_rules` scores a moment against its surroundings.
Shapes: see the legend in `mmn.modeling`; D = C.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.text_encoder import SentencePooling
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
