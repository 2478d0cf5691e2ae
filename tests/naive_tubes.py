"""HC-STVG in its plainest form, frame by frame and sentence by sentence: the oracle of `mmn.structures.tubes` and
`mmn.modeling.tubes`, after SPEC section 8."""

import math

import numpy as np
from torch import Tensor

Tube = dict[int, list[float]]  # frame -> box


def frames_of(tubes, number: int) -> Tube:
    """One of the tubes of a `Tubes` as a dict, by walking along its boxes."""
    first_row = sum(tubes.lengths.tolist()[:number])
    first_frame = tubes.first_frames.tolist()[number]
    return {first_frame + row: tubes.boxes[first_row + row].tolist() for row in range(tubes.lengths.tolist()[number])}


def box_iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    area = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(area) - width * height)


def piece_ious(piece: Tube, truth: Tube) -> tuple[float, float]:
    """(spatio-temporal, temporal) IoU of two tubes."""
    common = sorted(piece.keys() & truth.keys())
    if not common:
        return 0.0, 0.0
    frames = [*piece, *truth]
    temporal = len(common) / (max(frames) - min(frames) + 1)
    return sum(box_iou(piece[frame], truth[frame]) for frame in common) / len(common) * temporal, temporal


def cell_rows(i: int, j: int, num_clips: int, length: int) -> range:
    start, stop = (int(np.rint(np.float32(k) / np.float32(num_clips) * np.float32(length))) for k in (i, j + 1))
    return range(start, stop)


def iou_map(tube: Tube, truth: Tube, num_clips: int) -> np.ndarray:
    """[N, N], every cell i <= j by itself."""
    frames = list(tube)
    content = np.zeros((num_clips, num_clips))
    for i in range(num_clips):
        for j in range(i, num_clips):
            piece = {frames[row]: tube[frames[row]] for row in cell_rows(i, j, num_clips, len(frames))}
            content[i, j] = piece_ious(piece, truth)[0]
    return content


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
            rows = cell_rows(i, j, num_clips, length)
            if len(rows) and scores[tube, m] > best[2]:
                best = (tube, rows, scores[tube, m].item())
    return best
