"""2D-TAN (AAAI 2020): sentence and moments are fused on the proposal map before its convolutions (SPEC section 10).

The names of the modules, and their order, are those of the official program's state dict. All that belongs to a video
is computed once for all of its sentences; from the fusion on everything is per sentence. Shapes: see the legend in
`mmn.modeling`; E is the width of a word vector, Q that of the LSTM.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmn.modeling.feat2d import Feat2d, PoolFeat2d
from mmn.modeling.featpool import average_clips
from mmn.modeling.losses import scaled_ious
from mmn.modeling.map_conv import MapConv
from mmn.modeling.proposal_conv import per_cell
from mmn.modeling.scoring import unit_vectors
from mmn.structures.batch import GroundingBatch
from mmn.structures.moments import cell_ious, cell_moments, temporal_iou
from mmn.structures.proposals import ProposalCells
from mmn.utils.registry import Registry

PROP_LAYERS = Registry("MODEL.MMN.FEAT2D.NAME")
PROP_LAYERS.register("pool")(PoolFeat2d)


class FrameLayer(nn.Module):
    """1x1 convolution, ReLU and average pooling over time, stride = kernel size."""

    def __init__(self, input_size: int, hidden_size: int, kernel_size: int):
        super().__init__()
        self.vis_conv = nn.Conv1d(input_size, hidden_size, kernel_size=1)
        self.kernel_size = kernel_size

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, P, D] -> clips [B, H, N]."""
        return average_clips(self.vis_conv, feats, self.kernel_size, self.kernel_size)


@PROP_LAYERS.register("conv")
class ConvPropLayer(Feat2d):
    """A Conv1d in the place of each max pooling, by group, and one of kernel 1 more in front, which makes the diagonal."""

    def __init__(self, cells: ProposalCells, hidden_size: int):
        super().__init__(cells)
        groups: list[list[nn.Conv1d]] = [[nn.Conv1d(hidden_size, hidden_size, 1)]]
        self.places = []  # of each step: its group, and its number in that
        for step in self.steps:
            group = step.stride.bit_length() - 1
            groups += [[] for _ in range(len(groups), group + 1)]
            self.places.append((group, len(groups[group])))
            groups[group].append(nn.Conv1d(hidden_size, hidden_size, step.kernel_size, step.reduction_stride))
        self.layers = nn.ModuleList(nn.ModuleList(group) for group in groups)

    def first(self, clips: Tensor) -> Tensor:
        return self.layers[0][0](clips)

    def reduce(self, x: Tensor, index: int) -> Tensor:
        group, number = self.places[index]
        return self.layers[group][number](x)


class FusionLayer(nn.Module):
    """Sentence and moments as vectors of one space, and their product.

    Args:
        hidden_size: H.
        word_size, text_size: E, Q.
        num_layers: layers of the LSTM.
        masked: whether the map is zero outside the valid cells; otherwise every cell there holds the product with the
            bias of `vis_conv`, as in the third-party program.
    """

    def __init__(self, hidden_size: int, word_size: int, text_size: int, num_layers: int, masked: bool = True):
        super().__init__()
        self.textual_encoder = nn.LSTM(word_size, text_size, num_layers, batch_first=True)
        self.tex_linear = nn.Linear(text_size, hidden_size)
        self.vis_conv = nn.Conv2d(hidden_size, hidden_size, 1)
        self.masked = masked

    def encode_moments(self, packed: Tensor) -> Tensor:
        """Features of the valid cells [B, H, M] -> v [B, M, H]."""
        return per_cell(self.vis_conv, packed.mT)

    def encode_words(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """Word vectors [U, L, E] and their mask [U, L], 1 at words -> the LSTM's top output at the last word [U, Q]."""
        outputs, _ = self.textual_encoder(words)
        # In one direction: what the padding after the last word does to later outputs changes nothing before it.
        return outputs[torch.arange(len(words), device=words.device), word_mask.sum(dim=1) - 1]

    def encode_sentences(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """As `encode_words` -> q [U, H]."""
        return self.tex_linear(self.encode_words(words, word_mask))

    def forward(self, moments: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor | None]:
        """Fuse v [S, M, H] of the sentences' own videos with q [S, H].

        Returns:
            unit vectors of the valid cells [S, M, H], and what all other cells hold [S, H]; None for zeros.
        """
        fused = unit_vectors(moments * sentences[:, None])
        if self.masked:
            return fused, None
        return fused, unit_vectors(sentences * self.vis_conv.bias)


class MapOutput(NamedTuple):
    """Score maps of S sentences, each with the valid cells of its own video.

    Attributes:
        logits: [S, M]; the score is their sigmoid.
    """

    logits: Tensor

    @property
    def scores(self) -> Tensor:
        """[S, M] in (0, 1), in float32 at least."""
        return torch.sigmoid(self.logits.to(torch.promote_types(self.logits.dtype, torch.float32)))


class TAN2D(nn.Module):
    """2D Temporal Adjacent Network. It scores; it knows neither losses nor epochs."""

    def __init__(
        self, frame_layer: FrameLayer, prop_layer: Feat2d, fusion_layer: FusionLayer, map_layer: MapConv, map_size: int
    ):
        super().__init__()
        self.frame_layer = frame_layer
        self.prop_layer = prop_layer
        self.fusion_layer = fusion_layer
        self.map_layer = map_layer
        self.pred_layer = nn.Conv2d(map_size, 1, 1)

    def encode_videos(self, feats: Tensor) -> Tensor:
        """Resampled features [B, P, D] -> the vectors of the valid cells that sentences meet, v [B, M, H]."""
        return self.fusion_layer.encode_moments(self.prop_layer(self.frame_layer(feats)))

    def encode_sentences(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """Word vectors [U, L, E], mask [U, L] -> the vectors of the sentences, q [U, H]."""
        return self.fusion_layer.encode_sentences(words, word_mask)

    def match(self, moments: Tensor, sentences: Tensor) -> MapOutput:
        """Score v [S, M, H] of each sentence's video with q [S, H]."""
        fused, around = self.fusion_layer(moments, sentences)
        features = self.map_layer.features(fused.mT, around)  # [S, M, width of the stack]
        return MapOutput(per_cell(self.pred_layer, features).squeeze(-1))

    def forward(self, batch: GroundingBatch) -> MapOutput:
        """The score maps of all sentences of a batch whose tokens are word vectors [U, L, E]."""
        sentences = self.encode_sentences(batch.tokens, batch.token_mask)[batch.token_rows]
        return self.match(self.encode_videos(batch.feats)[batch.video_index], sentences)


def exact_cell_ious(cells: ProposalCells, moments: Tensor, durations: Tensor) -> Tensor:
    """`mmn.structures.moments.cell_ious` computed in float64 on the float32 bounds, then rounded (SPEC section 10)."""
    bounds = cell_moments(cells, durations)
    return temporal_iou(bounds.double(), moments.double()[:, None]).to(bounds.dtype)


class MapCriterion:
    """Binary cross-entropy of the scores against the scaled IoU of every valid cell.

    Args:
        cells: the proposal map's cells.
        min_iou, max_iou: IoU range of the targets.
        third_party: compute as the third-party program does: IoUs in float32 and the loss from logits, where the official
            one takes IoUs in float64 and scores, no logarithm of which is below -100. That tells on logits near 16.
    """

    def __init__(self, cells: ProposalCells, min_iou: float, max_iou: float, third_party: bool = False):
        self.cells = cells
        self.min_iou = min_iou
        self.max_iou = max_iou
        self.third_party = third_party

    def sentence_losses(self, output: MapOutput, batch: GroundingBatch) -> Tensor:
        """[S], means over the valid cells."""
        iou_maps = cell_ious if self.third_party else exact_cell_ious
        ious = batch.moment_layout.highest(iou_maps(self.cells, batch.moments, batch.moment_durations))
        scores = output.scores
        target = scaled_ious(ious, self.min_iou, self.max_iou).to(scores.dtype)
        if self.third_party:
            losses = F.binary_cross_entropy_with_logits(output.logits.to(scores.dtype), target, reduction="none")
        else:
            # It takes no NaN, which the trainer is to find in the loss.
            losses = F.binary_cross_entropy(scores.nan_to_num(0.5), target, reduction="none") + 0 * scores
        return losses.mean(dim=1)

    def __call__(self, output: MapOutput, batch: GroundingBatch) -> dict[str, Tensor]:
        """`iou`, scalar float32, the mean over sentences and valid cells."""
        return {"iou": self.sentence_losses(output, batch).mean()}
