"""Geometry of tubes, pure: tensors in, tensors out (SPEC section 8).

A tube is a person followed through consecutive frames: a first frame and one box per frame. A box is (x1, y1, x2, y2) in
pixels, both corners part of it. Row r of a tube is its frame `first + r`; a piece of a tube is its rows start .. stop - 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmn.structures.proposals import ProposalCells


class Tubes(NamedTuple):
    """n tubes of any lengths, their boxes one after the other.

    Attributes:
        first_frames: [n] int64.
        lengths: [n] int64, frames of each tube, at least 1.
        boxes: [R, 4] float32 pixels, R the sum of the lengths.
    """

    first_frames: Tensor
    lengths: Tensor
    boxes: Tensor

    @property
    def first_rows(self) -> Tensor:
        """[n] int64, where each tube's boxes begin."""
        return self.lengths.cumsum(0) - self.lengths

    def select(self, index: Tensor) -> "Tubes":
        """The tubes numbered `index` [m] int64, in that order; a number may come several times."""
        lengths = self.lengths[index]
        rows = self.first_rows[index].repeat_interleave(lengths) + row_numbers(lengths)
        return Tubes(self.first_frames[index], lengths, self.boxes[rows])

    def piece(self, number: int, start: int, stop: int) -> "Tubes":
        """Rows start .. stop - 1 of one tube, as a tube of its own."""
        first_row = int(self.first_rows[number])
        boxes = self.boxes[first_row + start : first_row + stop]
        own = slice(number, number + 1)
        return Tubes(self.first_frames[own] + start, torch.full_like(self.lengths[own], stop - start), boxes)


def concatenate(parts: Sequence[Tubes]) -> Tubes:
    """The tubes of all parts, in order."""
    return Tubes(*(torch.cat(column) for column in zip(*parts, strict=True)))


def row_numbers(lengths: Tensor) -> Tensor:
    """[R] int64: 0 .. length - 1 for each of the lengths [n] in turn.

    >>> row_numbers(torch.tensor([2, 3]))
    tensor([0, 1, 0, 1, 2])
    """
    first = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum()), device=lengths.device) - first.repeat_interleave(lengths)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes a [..., 4] with boxes b [..., 4] -> [...]; a box from pixel 0 to pixel 0 is 1 pixel wide.

    >>> box_iou(torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 2.0, 0.0]))
    tensor(0.3333)
    """
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + 1
    overlap = sides.clamp(min=0).prod(dim=-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2] + 1).prod(dim=-1) for box in (a, b))
    return overlap / (area_a + area_b - overlap)


def cell_rows(cells: ProposalCells, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of tubes of `lengths` [n] that the valid cells stand for -> (start, stop), each [n, M] int64.

    Cell (i, j) is rows round_half_even(i / N * L) .. round_half_even((j + 1) / N * L) - 1, none where that is empty. As
    in resampling the bounds are taken in float32.
    """
    shares = torch.arange(cells.num_clips + 1, dtype=torch.float32, device=lengths.device) / cells.num_clips
    bounds = (shares * lengths[:, None].to(torch.float32)).round().long()  # [n, N + 1]
    first, stop = cells.bounds_like(lengths).unbind(-1)
    return bounds[:, first], bounds[:, stop]


def piece_ious(tubes: Tubes, truths: Tubes, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
    """Spatio-temporal and temporal IoU of pieces of each tube with that tube's truth.

    The spatio-temporal IoU is the mean of the box IoU over the frames in common times the temporal IoU, i.e. the sum of
    the box IoU over the frames in the hull; the temporal IoU is the frames in common over the frames in the hull. Both are
    0 for an empty piece and where no frame is in common. The sums are differences of prefix sums over the rows, in
    float64.

    Args:
        tubes: n tubes.
        truths: n tubes, the truth of each.
        start, stop: [n, K] int64, K pieces of each tube: rows start .. stop - 1.
    Returns:
        two tensors [n, K] float32.
    """
    first_rows = tubes.first_rows
    sums = F.pad(_row_ious(tubes, truths).double().cumsum(0), (1, 0))  # of all rows before a row
    box_sums = sums[first_rows[:, None] + stop] - sums[first_rows[:, None] + start]
    first, last = tubes.first_frames[:, None] + start, tubes.first_frames[:, None] + stop  # frames, `last` not included
    true_first = truths.first_frames[:, None]
    true_last = true_first + truths.lengths[:, None]
    common = torch.minimum(last, true_last) - torch.maximum(first, true_first)
    hull = torch.maximum(last, true_last) - torch.minimum(first, true_first)
    common = torch.where(stop > start, common.clamp(min=0), 0)
    spatial = torch.where(common > 0, box_sums / hull, 0.0)
    return spatial.float(), (common / hull).float()


def _row_ious(tubes: Tubes, truths: Tubes) -> Tensor:
    """[R] float32: box IoU of every row of the tubes with their truth in the same frame, 0 where it has no box there."""
    shift = (tubes.first_frames - truths.first_frames).repeat_interleave(tubes.lengths)
    true_row = row_numbers(tubes.lengths) + shift  # counted from the truth's own first row
    is_common = (true_row >= 0) & (true_row < truths.lengths.repeat_interleave(tubes.lengths))
    true_row = (true_row + truths.first_rows.repeat_interleave(tubes.lengths))[is_common]
    ious = tubes.boxes.new_zeros(len(tubes.boxes))
    ious[is_common] = box_iou(tubes.boxes[is_common], truths.boxes[true_row])
    return ious


def tube_iou_maps(cells: ProposalCells, tubes: Tubes, truths: Tubes) -> Tensor:
    """Spatio-temporal IoU of the piece of every valid cell of n tubes with their truths (n tubes too) -> [n, M]."""
    return piece_ious(tubes, truths, *cell_rows(cells, tubes.lengths))[0]
