"""IoU maps of tubes: the plain form, frame by frame, and how much faster `tube_iou_maps` is.

python -m mmn.apps.benchmark.tubes --tubes 1000 --frames 300
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mmn.structures.proposals import ProposalCells
from mmn.structures.tubes import Tubes, tube_iou_maps
from mmn.utils.number_arguments import whole_number

NUM_CLIPS = 16
REPEATS = 5  # of the vectorised form, of which the quickest counts
PlainTube = dict[int, list[float]]  # frame -> box


def plain_box_iou(a: list[float], b: list[float]) -> float:
    """IoU of two boxes (x1, y1, x2, y2), both corners part of them."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    area = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(area) - width * height)


def plain_piece_ious(piece: PlainTube, truth: PlainTube) -> tuple[float, float]:
    """(spatio-temporal, temporal) IoU of two tubes (SPEC section 8)."""
    common = sorted(piece.keys() & truth.keys())
    if not common:
        return 0.0, 0.0
    frames = [*piece, *truth]
    temporal = len(common) / (max(frames) - min(frames) + 1)
    return sum(plain_box_iou(piece[frame], truth[frame]) for frame in common) / len(common) * temporal, temporal


def plain_cell_rows(i: int, j: int, num_clips: int, length: int) -> range:
    """The rows of a tube that cell (i, j) stands for."""
    start, stop = (int(np.rint(np.float32(k) / np.float32(num_clips) * np.float32(length))) for k in (i, j + 1))
    return range(start, stop)


def plain_iou_map(tube: PlainTube, truth: PlainTube, num_clips: int) -> Tensor:
    """[N, N] float64, every cell i <= j by itself."""
    frames = list(tube)
    content = torch.zeros(num_clips, num_clips, dtype=torch.float64)
    for i in range(num_clips):
        for j in range(i, num_clips):
            rows = plain_cell_rows(i, j, num_clips, len(frames))
            content[i, j] = plain_piece_ious({frames[row]: tube[frames[row]] for row in rows}, truth)[0]
    return content


def plain_tubes(tubes: Tubes) -> Iterator[PlainTube]:
    """Tubes made by walking along their boxes."""
    boxes = iter(tubes.boxes.tolist())
    for first, length in zip(tubes.first_frames.tolist(), tubes.lengths.tolist(), strict=True):
        yield {frame: next(boxes) for frame in range(first, first + length)}


def random_tubes(count: int, num_frames: int, generator: torch.Generator) -> Tubes:
    """`count` tubes of `num_frames` frames that begin at different times, boxes at random."""
    corners = torch.rand(count * num_frames, 2, generator=generator) * 200
    sizes = torch.rand(count * num_frames, 2, generator=generator) * 100
    first = torch.randint(0, num_frames, (count,), generator=generator)
    return Tubes(first, torch.full((count,), num_frames), torch.cat([corners, corners + sizes], dim=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tubes", type=whole_number, default=1000, help="tubes, each with a truth of its own")
    parser.add_argument("--frames", type=whole_number, default=300, help="frames of each")
    parser.add_argument(
        "--plain", type=whole_number, default=20, help="tubes that the plain form is timed on, for it is slow"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    tubes, truths = (random_tubes(args.tubes, args.frames, generator) for _ in range(2))
    cells = ProposalCells(NUM_CLIPS, [NUM_CLIPS - 1])
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        maps = cells.to_map(tube_iou_maps(cells, tubes, truths))
        times.append(time.perf_counter() - start)
    fast = min(times) / args.tubes
    pairs = list(zip(plain_tubes(tubes), plain_tubes(truths), strict=True))[: args.plain]
    start = time.perf_counter()
    plain_maps = torch.stack([plain_iou_map(tube, truth, NUM_CLIPS) for tube, truth in pairs])
    plain = (time.perf_counter() - start) / len(pairs)
    difference = (maps[: len(pairs)] - plain_maps).abs().max().item()
    print(f"{args.tubes} tubes of {args.frames} frames, {NUM_CLIPS} x {NUM_CLIPS} maps, one core")
    print(f"vectorised  {fast * args.tubes:8.3f} s")
    print(f"plain form  {plain * args.tubes:8.3f} s, from {len(pairs)} of them; {plain / fast:.0f} times as long")
    print(f"largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
