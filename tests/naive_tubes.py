"""The losses and the choice of HC-STVG in their plainest form, sentence by sentence and cell by cell, after SPEC section 8.

The plain geometry is in `mmn.apps.benchmark.tubes`, which also measures it.
"""

import math

from torch import Tensor

from mmn.apps.benchmark.tubes import PlainTube, plain_cell_rows, plain_tubes


def frames_of(tubes, number: int) -> PlainTube:
    """One of the tubes of a `Tubes`: frame -> box."""
    return list(plain_tubes(tubes))[number]


def losses(
    moments: Tensor,
    moments_iou: Tensor,
    sentences: Tensor,
    sentences_iou: Tensor,
    ious: Tensor,
    num_tubes: list[int],
    margin: float,
    tau_video: float,
    tau_sent: float,
    negative_iou: float,
    tube_index: str,
    masked: str,
    min_iou: float,
    max_iou: float,
) -> dict[str, Tensor]:
    """vid, sent and iou of a batch; vectors [T, M, C] and [S, C] of length 1, ious [T, M]."""
    vid, sent, entropies, first = [], [], [], 0
    for video, count in enumerate(num_tubes):
        own = range(first, first + count)
        tube, cell = max(((t, m) for t in own for m in range(ious.shape[1])), key=lambda place: ious[place].item())
        positive = ((moments[tube, cell] @ sentences[video]) - margin) / tau_sent
        # video -> sentence
        terms = [
            ((moments[tube, cell] @ sentence - (margin if other == video else 0)) / tau_video).exp()
            for other, sentence in enumerate(sentences)
        ]
        vid.append(-(terms[video] / sum(terms)).log())
        # sentence -> video
        denominator = positive.exp() + 1e-6
        for m in range(ious.shape[1]):
            cosine = moments[tube, m] @ sentences[video]
            if abs(ious[tube, m].item() - ious[tube, cell].item()) <= 1e-6:
                denominator = denominator + ((cosine - margin) / tau_sent).exp()
            elif ious[tube, m] < negative_iou:
                denominator = denominator + (cosine / tau_sent).exp()
            elif masked == "ones":
                denominator = denominator + 1
        left_out = tube - first if tube_index == "released" else tube
        for t in range(len(moments)):
            if t != left_out:
                for m in range(ious.shape[1]):
                    denominator = denominator + ((moments[t, m] @ sentences[video]) / tau_sent).exp()
        sent.append(-(positive.exp() / denominator).log())
        for t in own:
            for m in range(ious.shape[1]):
                target = min(max((ious[t, m].item() - min_iou) / (max_iou - min_iou), 0), 1)
                score = (10 * (moments_iou[t, m] @ sentences_iou[video])).sigmoid()
                entropies.append(-(target * score.log() + (1 - target) * (1 - score).log()))
        first += count
    return {"vid": sum(vid) / len(vid), "sent": sum(sent) / len(sent), "iou": sum(entropies) / len(entropies)}


def best_piece(scores: Tensor, lengths: list[int], num_clips: int, cells: list[tuple[int, int]]) -> tuple:
    """(tube, rows, score) of the best cell with a row, over the tubes of one video; scores [n, M]."""
    best = (None, None, -math.inf)
    for tube, length in enumerate(lengths):
        for m, (i, j) in enumerate(cells):
            rows = plain_cell_rows(i, j, num_clips, length)
            if len(rows) and scores[tube, m] > best[2]:
                best = (tube, rows, scores[tube, m].item())
    return best
