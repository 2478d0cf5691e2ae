"""A video on its way to be searched: cut into windows, then with the vectors of all its moments."""

import mmap
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mmn.apps.localize.search_windows import window_bounds
from mmn.structures.moments import cell_moments
from mmn.structures.proposals import ProposalCells


@dataclass(frozen=True, eq=False)
class PreparedVideo:
    """A video before the network. Made by `MomentLocalizer.prepare_video`.

    Attributes:
        name, duration: those of the `EncodedVideo` that it becomes.
        rows: [T0, D] float32.
        spans: (first row, one past the last) of each of its W windows.
        moments: [W, M, 2] float32 seconds, all that can be found.
    """

    name: str
    duration: float
    rows: np.ndarray = field(repr=False)
    spans: list[tuple[int, int]] = field(repr=False)
    moments: Tensor = field(repr=False)

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """(start, end) seconds of each window."""
        return tuple((start, end) for start, end in window_bounds(self.spans, len(self.rows), self.duration).tolist())


def cut_video(
    name: str, duration: float, rows: np.ndarray, spans: list[tuple[int, int]], cells: ProposalCells
) -> PreparedVideo:
    """A video that is cut into windows, with the moments of all of them."""
    bounds = window_bounds(spans, len(rows), duration)
    lengths = (bounds[:, 1] - bounds[:, 0]).float()
    moments = cell_moments(cells, lengths) + bounds[:, :1, None].float()
    return PreparedVideo(name, duration, rows, spans, moments)


@dataclass(frozen=True, eq=False)
class EncodedVideo:
    """A video as a model sees it, to be asked any number of queries. Made by `MomentLocalizer.encode_video`.

    Attributes:
        name: the video's, for messages and files.
        duration: seconds.
        windows: (start, end) seconds of the W windows it is searched in; a short video is one. They may overlap, and be of
            several lengths.
        moments: [W, M, 2] float32 seconds, all that can be found.
        moments_contrastive, moments_iou: [W, M, C] their unit vectors, on the device they are kept on; of 2D-TAN, twice the
            vectors that meet a sentence.
        finder: [W, F, C] of some of the former, by which windows are found; see `mmn.apps.localize.find_then_ground`. Of
            2D-TAN, which finds none, all of them.
        localizer_id: `MomentLocalizer.id` of the one that made them: no other one can search them.
        mapped: the files that the vectors of a long video are in.
    """

    name: str
    duration: float
    windows: tuple[tuple[float, float], ...]
    moments: Tensor = field(repr=False)
    moments_contrastive: Tensor = field(repr=False)
    moments_iou: Tensor = field(repr=False)
    finder: Tensor = field(repr=False)
    localizer_id: str = field(repr=False)
    mapped: tuple[np.memmap, ...] = field(default=(), repr=False)

    @cached_property
    def bounds(self) -> Tensor:
        """[W, 2] float32, `windows` beside the moments."""
        return torch.tensor(self.windows, device=self.moments.device)

    def let_go(self) -> None:
        """Give back the memory of what was read of files, which the system's cache still has: it would grow by query."""
        for array in self.mapped:
            if hasattr(mmap, "MADV_DONTNEED") and isinstance(array.base, mmap.mmap):
                array.base.madvise(mmap.MADV_DONTNEED)
