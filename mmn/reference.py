"""MMN in one file: features -> clips -> proposal map -> scores -> losses -> ranked moments.

This is the method of "Negative Sample Matters" (AAAI 2022) as its released models compute it, to be read from top to
bottom: no options, no speed. The package gives the same numbers (tests/test_reference.py holds it to this file).
Where a comment says "as released", the line looks odd and is kept: the released weights were trained with it.

Parameters are a state dict in the released names. The text encoder is a module, used for its last hidden states.
Pairs always go (contrastive, iou): each of the two heads has a joint space of its own. Shapes:

    B    videos of a batch                 S_b  sentences of video b          L    tokens of its longest sentence
    T0   feature rows of a video           P    clips they are resampled to   N    clips of the map, each P // N pooled
    D    width of a feature row            H    width of the map              C    width of a joint space
    W    width of the text encoder         M    valid cells of the N x N map  n    moments that are left after NMS

Cell (i, j) of the map, i <= j, is the moment from i * duration / N to (j + 1) * duration / N seconds.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Params, Tensors = dict[str, Tensor], list[Tensor]
Pair = tuple[Tensor, Tensor]  # (contrastive, iou)
Embedded = tuple[list[Pair], Pair, Tensor]  # sentences [S_b, C] per video, proposals [B, C, N, N], valid cells [N, N]


class Settings(NamedTuple):
    """The hyper-parameters, nearly by the names of their config keys; the values are those of the Charades-STA model."""

    num_pre_clips: int = 32  # P
    num_clips: int = 16  # N
    featpool_kernel_size: int = 2
    pooling_counts: tuple[int, ...] = (15,)
    num_stack_layers: int = 8
    min_iou: float = 0.5
    max_iou: float = 1.0
    num_positives: int = 1  # of a moment: its cells of highest IoU
    negative_video_iou: float = 0.5
    sent_removal_iou: float = 0.5
    tau_video: float = 0.1
    tau_sent: float = 0.1
    margin: float = 0.4
    contrastive_weight: float = 0.05
    contrastive_score_pow: float = 0.5
    nms_thresh: float = 0.5


class Video(NamedTuple):
    """A video with its sentences."""

    clips: Tensor  # [P, D], of `resample`
    tokens: Tensor  # [S_b, L] token ids, padded
    lengths: Tensor  # [S_b] tokens of each sentence, [CLS] and [SEP] included
    moments: Tensors  # of each sentence [G, 2] seconds, the moments that it describes, mostly one
    duration: float  # seconds


# ---- Features -> clips -> proposal map -------------------------------------------------------------------------------


def resample(rows: Tensor, num_pre_clips: int) -> Tensor:
    """The feature rows of a video [T0, D] -> clips [P, D], each the mean of the rows in its share of the video."""
    rows = F.normalize(rows, dim=1)
    bounds = (torch.arange(num_pre_clips + 1) / num_pre_clips * len(rows)).round().long()  # [P + 1]
    bounds = bounds.clamp(max=len(rows) - 1)  # as released: the last row counts only in a share without rows
    shares = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    return torch.stack([rows[a:b].mean(dim=0) if a < b else rows[a] for a, b in shares])  # [P, D]


def featpool(clips: Tensor, params: Params, s: Settings) -> Tensor:
    """Clips [B, P, D] -> [B, H, N]."""
    x = F.conv1d(clips.transpose(1, 2), *layer(params, "featpool.conv")).relu()  # [B, H, P]
    return F.avg_pool1d(x, s.featpool_kernel_size, stride=s.num_pre_clips // s.num_clips)  # [B, H, N]


def layer(params: Params, name: str) -> tuple[Tensor, Tensor]:
    """The weight and the bias of a layer."""
    return params[f"{name}.weight"], params[f"{name}.bias"]


def proposal_map(clips: Tensor, s: Settings) -> tuple[Tensor, Tensor]:
    """Clips [B, H, N] -> the map [B, H, N, N], each valid cell the maximum of its clips, and the valid cells [N, N].

    All short moments are valid, of longer ones those at every second clip, of still longer ones at every fourth, ...
    """
    i = torch.arange(s.num_clips)
    mask = torch.zeros(s.num_clips, s.num_clips, dtype=torch.bool)  # [N, N]
    clip_map = clips.new_zeros(*clips.shape, s.num_clips)  # [B, H, N, N]
    clip_map[:, :, i, i], mask[i, i] = clips, True
    x, offset = clips, 0  # x: [B, H, .], the cells (i, i + offset) for i = 0, stride, 2 * stride, ...
    for group, count in enumerate(s.pooling_counts):
        stride = 2**group
        for step in range(count):
            offset += stride
            first_of_later_group = group > 0 and step == 0
            x = F.max_pool1d(x, 3, stride=2) if first_of_later_group else F.max_pool1d(x, 2, stride=1)
            i = torch.arange(0, s.num_clips - offset, stride)
            clip_map[:, :, i, i + offset], mask[i, i + offset] = x, True
    return clip_map, mask.to(clips.device)


# ---- Proposal map -> vectors of the moments, tokens -> vectors of the sentences --------------------------------------


def encode_proposals(x: Tensor, mask: Tensor, params: Params, s: Settings, training: bool) -> Pair:
    """The map [B, H, N, N] with its valid cells [N, N] -> unit vectors [B, C, N, N]; those of other cells mean nothing."""
    valid = mask[None, None].float()  # [1, 1, N, N]
    for number in range(s.num_stack_layers):
        weight, bias = layer(params, f"proposal_conv.convs.{number}")  # [H, H, k, k], [H]
        size = weight.shape[-1]
        padding = (size - 1) * s.num_stack_layers // 2 if number == 0 else 0
        x = F.conv2d(x, weight, bias, padding=padding)  # [B, H, N', N'], k - 1 less per layer, and N in the end
        mean, var = (params[f"proposal_conv.bn.{number}.running_{name}"] for name in ("mean", "var"))  # [H], [H]
        # As released: the statistics of a batch, which move the running ones, are over all cells, the empty ones too.
        x = F.batch_norm(x, mean, var, *layer(params, f"proposal_conv.bn.{number}"), training=training).relu()
        count = F.conv2d(valid, valid.new_ones(1, 1, size, size), padding=padding).round()  # [1, 1, N', N']
        x = x * torch.where(count > 0, 1 / count, 0)  # over the valid cells of the window, as if it were a mean
        valid = (count > 0).float()  # [1, 1, N', N'], the valid cells of the next layer
    contrastive = F.conv2d(x, *layer(params, "proposal_conv.conv1x1_contrastive"))  # [B, C, N, N]
    iou = F.conv2d(x, *layer(params, "proposal_conv.conv1x1_iou"))  # [B, C, N, N]
    return F.normalize(contrastive, dim=1), F.normalize(iou, dim=1)


def encode_sentences(tokens: Tensor, lengths: Tensor, encoder: nn.Module, params: Params) -> Pair:
    """The sentences of a video, tokens [S_b, L] and lengths [S_b] -> unit vectors [S_b, C]."""
    is_token = torch.arange(tokens.shape[1]).to(lengths) < lengths[:, None]  # [S_b, L]
    hidden = encoder(input_ids=tokens, attention_mask=is_token.long()).last_hidden_state  # [S_b, L, W]
    mean = (hidden * is_token[..., None]).sum(dim=1) / lengths[:, None]  # [S_b, W]
    mean = F.layer_norm(mean, mean.shape[1:], *layer(params, "text_encoder.layernorm"))
    contrastive = F.linear(mean, *layer(params, "text_encoder.fc_out2"))  # [S_b, C]
    iou = F.linear(mean, *layer(params, "text_encoder.fc_out1"))  # [S_b, C]
    return F.normalize(contrastive, dim=1), F.normalize(iou, dim=1)


def embed(videos: list[Video], encoder: nn.Module, params: Params, s: Settings, training: bool) -> Embedded:
    """The unit vectors of a batch, and which cells of its maps are valid."""
    clips = torch.stack([video.clips for video in videos])  # [B, P, D]
    clip_map, mask = proposal_map(featpool(clips, params, s), s)  # [B, H, N, N], [N, N]
    sentences = [encode_sentences(video.tokens, video.lengths, encoder, params) for video in videos]
    return sentences, encode_proposals(clip_map, mask, params, s, training), mask


def score_maps(sentences: list[Pair], proposals: Pair, mask: Tensor) -> list[Pair]:
    """Unit vectors [S_b, C] per video, and [B, C, N, N] -> scores of sentences with their own videos, [S_b, N, N]."""
    maps = []
    for b, (contrastive, iou) in enumerate(sentences):
        contrastive = torch.einsum("sc,cij->sij", contrastive, proposals[0][b])  # cosines, [S_b, N, N]
        iou = torch.einsum("sc,cij->sij", iou, proposals[1][b])  # [S_b, N, N]
        maps.append((contrastive * mask, (10 * iou).sigmoid() * mask))
    return maps


# ---- Losses ----------------------------------------------------------------------------------------------------------


def temporal_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of moments [..., 2] in seconds, which broadcast -> [...]."""
    overlap = torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return overlap.clamp(min=0) / hull


def cell_moments(num_clips: int, duration: float) -> Tensor:
    """The moments of all cells of a map -> [N, N, 2] seconds."""
    bounds = torch.arange(num_clips + 1) * duration / num_clips  # [N + 1]
    return torch.stack(torch.meshgrid(bounds[:-1], bounds[1:], indexing="ij"), dim=-1)  # [N, N, 2]


def iou_map(moment: Tensor, duration: float, num_clips: int) -> Tensor:
    """IoU of a moment [2] with all cells of its video -> [N, N]."""
    return temporal_iou(cell_moments(num_clips, duration).to(moment.device), moment)


def losses(sentences: list[Pair], proposals: Pair, mask: Tensor, videos: list[Video], s: Settings) -> dict[str, Tensor]:
    """The three losses of an embedded batch, scalars: means over positives, and of the iou loss over sentences."""
    vid, sent, iou = [], [], []
    queries = [contrastive for contrastive, _ in sentences]  # [S_b, C] per video
    cells = proposals[0][:, :, mask].transpose(1, 2)  # [B, M, C], row by row of the map
    for b, (video, (_, iou_scores)) in enumerate(zip(videos, score_maps(sentences, proposals, mask), strict=True)):
        for i, moments in enumerate(video.moments):
            maps = torch.stack([iou_map(moment, video.duration, s.num_clips)[mask] for moment in moments])  # [G, M]
            ious = maps.amax(dim=0)  # [M], with the best of the moments
            iou.append(iou_loss(iou_scores[i][mask], ious, s))
            for cell in maps.topk(s.num_positives).indices.flatten():  # as released: of ties those that topk takes
                vid.append(video_to_sentence(cells[b, cell], b, i, queries, video.moments, s))
                sent.append(sentence_to_video(queries[b][i], cells[b, cell], b, ious, cells, s))
    return {"vid": torch.stack(vid).mean(), "sent": torch.stack(sent).mean(), "iou": torch.stack(iou).mean()}


def iou_loss(scores: Tensor, ious: Tensor, s: Settings) -> Tensor:
    """The scores [M] of a sentence against the IoUs [M] of its moments, scaled to 0 .. 1."""
    target = ((ious - s.min_iou) / (s.max_iou - s.min_iou)).clamp(0, 1)  # [M]
    return F.binary_cross_entropy(scores, target.to(scores.dtype))


def video_to_sentence(positive: Tensor, b: int, i: int, queries: Tensors, moments: Tensors, s: Settings) -> Tensor:
    """A positive [C] of sentence i of video b, which has these moments, against all sentences of the batch."""
    numerator = ((positive @ queries[b][i] - s.margin) / s.tau_video).exp()
    denominator = numerator
    for other, vectors in enumerate(queries):
        terms = (vectors @ positive / s.tau_video).exp()  # [S_other]
        if other == b:  # another sentence of nearly the same moment may describe the same: it is left out
            kept = torch.stack([(temporal_iou(m[:, None], moments[i]) < s.sent_removal_iou).all() for m in moments])
            kept[i] = False  # the pair itself is the numerator
            terms = terms[kept]
        denominator = denominator + terms.sum()
    return -(numerator / denominator).log()


def sentence_to_video(query: Tensor, positive: Tensor, b: int, ious: Tensor, cells: Tensor, s: Settings) -> Tensor:
    """A sentence [C] of video b, IoUs [M], and one of its positives [C] against all cells of the batch [B, M, C]."""
    numerator = ((query @ positive - s.margin) / s.tau_sent).exp()
    denominator = numerator + 1e-6  # as released, in this loss alone
    for other, vectors in enumerate(cells):
        cosine = vectors @ query  # [M]
        if other == b:  # as released: no negative counts exp(0) = 1; a positive below the IoU enters a second time
            cosine = cosine * (ious < s.negative_video_iou)
        denominator = denominator + (cosine / s.tau_sent).exp().sum()
    return -(numerator / denominator).log()


def training_loss(videos: list[Video], encoder: nn.Module, params: Params, s: Settings) -> Tensor:
    """Loss that a training step descends. After epoch SOLVER.ONLY_IOU the contrastive weight is a hundredth of this."""
    parts = losses(*embed(videos, encoder, params, s, training=True), videos, s)
    return parts["iou"] + s.contrastive_weight * (parts["vid"] + parts["sent"])


# ---- Scores -> ranked moments ----------------------------------------------------------------------------------------


def rank(contrastive: Tensor, iou: Tensor, duration: float, s: Settings) -> tuple[Tensor, Tensor]:
    """The score maps [N, N] of a sentence -> moments [n, 2] in seconds and their scores [n], best first, after NMS."""
    scores = ((contrastive + 1) / 2).clamp(min=0) ** s.contrastive_score_pow * iou  # rounding can take cosines below -1
    i, j = scores.nonzero(as_tuple=True)  # the valid cells, [M], [M]
    scores, order = scores[i, j].sort(descending=True, stable=True)  # [M], [M]
    moments = cell_moments(s.num_clips, duration)[i, j][order]  # [M, 2]
    kept = torch.ones(len(moments), dtype=torch.bool)
    for place in range(len(moments)):
        if kept[place]:
            kept[place + 1 :] &= temporal_iou(moments[place + 1 :], moments[place]) <= s.nms_thresh
    return moments[kept], scores[kept]  # [n, 2], [n]


def localize(video: Video, encoder: nn.Module, params: Params, s: Settings) -> list[tuple[Tensor, Tensor]]:
    """The ranked moments [n, 2] of every sentence of a video, and their scores [n]."""
    [(contrastive, iou)] = score_maps(*embed([video], encoder, params, s, training=False))  # [S_b, N, N], [S_b, N, N]
    return [rank(*pair, video.duration, s) for pair in zip(contrastive, iou, strict=True)]
