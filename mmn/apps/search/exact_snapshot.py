"""One state of an exact index, which its searches use from beginning to end whatever is written meanwhile."""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from mmn.apps.search.exact_journal import Videos
from mmn.apps.search.exact_nearest import Run
from mmn.apps.search.exact_segments import MOMENTS, Segment
from mmn.apps.search.index_types import MomentFilter, VideoMoments
from mmn.structures.query_vectors import HEADS

GATHERED = 2**16  # vectors that are looked up at once


class MomentRows(NamedTuple):
    """Some moments of an index: of which video (its number), in which segment (likewise), in which row; each [H] int64."""

    videos: np.ndarray
    segments: np.ndarray
    rows: np.ndarray


class Stretch(NamedTuple):
    """Rows of a segment that follow each other and belong to the index; `before` counts those in earlier stretches."""

    segment: int
    start: int
    stop: int
    before: int


class Snapshot:
    """Videos and their mapped segments. Moments are in the order in which their videos were put, then as in the video.

    Args:
        segments: all that `videos` names, by name.
    """

    def __init__(self, videos: Videos, segments: Mapping[str, Segment]):
        self.videos = videos
        self.segments = segments

    @cached_property
    def names(self) -> np.ndarray:
        """[V] object: the ids, so that a video has a number."""
        return np.array([*self.videos.entries, None], object)[:-1]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.videos.entries)}

    @cached_property
    def segment_list(self) -> list[Segment]:
        """The segments by their numbers."""
        return list(self.segments.values())

    @cached_property
    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment number, first row and number of rows of each video, [V] int64."""
        numbers = {name: number for number, name in enumerate(self.segments)}
        places = [(numbers[place.segment], place.first) for place in self.videos.locations.values()]
        counts = [entry.num_moments for entry in self.videos.entries.values()]
        segments, firsts = np.array(places, np.int64).reshape(-1, 2).T
        return segments, firsts, np.array(counts, np.int64)

    def read(self, video_id: str) -> VideoMoments:
        """A copy of all that there is of a video, which must be there."""
        entry = self.videos.entries[video_id]
        arrays = [self.part(video_id, name).copy() for name in (MOMENTS, *HEADS)]
        return VideoMoments(video_id, entry.duration, *arrays, entry.source, entry.path)

    def part(self, video_id: str, name: str) -> np.ndarray:
        """A video's rows of one of a segment's arrays, as they are mapped."""
        segment, first = self.videos.locations[video_id]
        rows = getattr(self.segments[segment], name)
        return rows[first : first + self.videos.entries[video_id].num_moments].numpy()

    def chosen(self, video_ids: Collection[str] | None) -> np.ndarray:
        """Numbers of some videos, or all, ascending."""
        if video_ids is None:
            return np.arange(len(self.names))
        return np.sort(np.fromiter({self._numbers[name] for name in video_ids}, np.int64))

    def cosines(self, head: str, rows: MomentRows, queries: np.ndarray, query: np.ndarray) -> np.ndarray:
        """[H] float32: of each of `rows` with the row `query` [H] of `queries` [Q, C]."""
        found = np.empty(len(rows.rows), np.float32)
        queries = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
        for segment, members in _grouped(rows.segments):
            vectors = self.segment_list[segment].vectors(head)
            for part in np.array_split(members, -(-len(members) // GATHERED)):
                part_rows, part_query = torch.from_numpy(rows.rows[part]), torch.from_numpy(query[part])
                products = vectors[part_rows].double() * queries[part_query]
                found[part] = products.sum(1).numpy()
        return found

    def moments(self, rows: MomentRows) -> np.ndarray:
        """[H, 2] float32 seconds."""
        found = np.empty((len(rows.rows), 2), np.float32)
        for segment, members in _grouped(rows.segments):
            found[members] = self.segment_list[segment].moments.numpy()[rows.rows[members]]
        return found


def _grouped(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(value, where it is) for each different value."""
    order = np.argsort(values, kind="stable")
    kept, starts = np.unique(values[order], return_index=True)
    if len(kept):
        yield from zip(kept.tolist(), np.split(order, starts[1:]), strict=True)


class FilteredMoments:
    """The moments of a snapshot that pass a filter; their places count through them.

    Only the chosen videos' rows are ever looked at.
    """

    def __init__(self, snapshot: Snapshot, where: MomentFilter):
        self.snapshot = snapshot
        self.videos = snapshot.chosen(where.videos)
        segments, firsts, counts = (column[self.videos] for column in snapshot.table)
        self._ends = counts.cumsum()
        self.stretches = _stretches(segments, firsts, counts)
        self._passing: list[np.ndarray] | None = None  # rows of each stretch
        if not (where.min_length == 0 and np.isinf(where.max_length)):
            self._passing = [self._rows_that_pass(stretch, where) for stretch in self.stretches]
        sizes = self._passing or [range(stretch.start, stretch.stop) for stretch in self.stretches]
        self._offsets = np.cumsum([0, *map(len, sizes)])

    def _rows_that_pass(self, stretch: Stretch, where: MomentFilter) -> np.ndarray:
        moments = self.snapshot.segment_list[stretch.segment].moments[stretch.start : stretch.stop].numpy()
        return stretch.start + np.flatnonzero(where.passes(moments))

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def runs(self, vectors: list[torch.Tensor]) -> list[Run]:
        """The rows to be searched, in tables [n, C], one of each segment."""
        rows = [None] * len(self.stretches) if self._passing is None else map(torch.from_numpy, self._passing)
        return [
            Run(vectors[stretch.segment], stretch.start, stretch.stop, passing)
            for stretch, passing in zip(self.stretches, rows, strict=True)
        ]

    def rows(self, places: np.ndarray) -> MomentRows:
        """The moments at some places [H] int64."""
        run = np.searchsorted(self._offsets, places, side="right") - 1
        inside = places - self._offsets[run]
        columns = np.array(self.stretches, np.int64).reshape(-1, 4)[run]
        rows = columns[:, 1] + inside if self._passing is None else np.concatenate(self._passing)[places]
        count = columns[:, 3] + rows - columns[:, 1]  # moments of the chosen videos before this one
        return MomentRows(self.videos[np.searchsorted(self._ends, count, side="right")], columns[:, 0], rows)


def _stretches(segments: np.ndarray, firsts: np.ndarray, counts: np.ndarray) -> list[Stretch]:
    """The rows of videos, those that lie one after the other in one."""
    if not len(counts):
        return []
    ends = firsts + counts
    is_new = np.flatnonzero((segments[1:] != segments[:-1]) | (firsts[1:] != ends[:-1])) + 1
    begin, last = np.r_[0, is_new], np.r_[is_new, len(counts)] - 1
    before = np.r_[0, counts.cumsum()][begin]
    columns = zip(segments[begin], firsts[begin], ends[last], before, strict=True)
    return [Stretch(*map(int, column)) for column in columns]
