"""The exact store: an index in files of our own, searched by comparing every vector (docs/SEARCH_DESIGN.md).

A folder holds

    index.json        the description
    journal.jsonl     which video lies where (`mmn.apps.search.exact_journal`)
    segments/NAME/    the vectors and moments of some videos (`mmn.apps.search.exact_segments`), never changed afterwards
    .lock             held for the moment in which a change becomes part of the index

A change is written aside, and is made by one line of the journal. So any number of processes write at once, each waits for
the others' lines alone, and none ever waits for or disturbs a reader.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from mmn.apps.search.exact_journal import Journal, Location, Videos, put_record, remove_record
from mmn.apps.search.exact_nearest import nearest_vectors
from mmn.apps.search.exact_segments import MOMENTS, Segment, SegmentWriter, map_segment, remove_abandoned
from mmn.apps.search.exact_snapshot import FilteredMoments, Snapshot
from mmn.apps.search.index_types import Hits, IndexInfo, MomentFilter, VideoEntry, VideoMoments
from mmn.apps.search.vector_store import (
    EVERYTHING,
    VectorStore,
    check_vacant,
    explained_writing,
    read_folder_info,
    read_own_info,
    write_folder_info,
)
from mmn.structures.query_vectors import HEADS, QueryVectors
from mmn.utils.errors import DataError, UserError
from mmn.utils.files import file_lock

JOURNAL, SEGMENTS, LOCK = "journal.jsonl", "segments", ".lock"
SEGMENT_ROWS = 2**20  # that `optimize` puts together
MOST_LOST = 0.8  # it rewrites a segment of which less than this share is still used
ATTEMPTS = 20  # at a snapshot while another process optimizes again and again


class ExactStore(VectorStore):
    """See the module. Threads may share one; each search keeps to the state that it began with."""

    name = "exact"

    def __init__(self, place: str, info: IndexInfo):
        super().__init__(place, info)
        self._journal = Journal(os.path.join(place, JOURNAL))
        self._segments = os.path.join(place, SEGMENTS)
        self._device = torch.device("cpu")
        self._moved: dict[tuple[str, str, torch.device], torch.Tensor] = {}
        self._mutex = threading.RLock()
        self._snapshot = Snapshot(self._journal.videos, {})
        self._look()

    # ---- Being there ----

    @classmethod
    def create(cls, place: str, info: IndexInfo) -> "ExactStore":
        with explained_writing(place):
            os.makedirs(os.path.join(place, SEGMENTS), exist_ok=True)
            with file_lock(os.path.join(place, LOCK)):
                check_vacant(place)
                Journal(os.path.join(place, JOURNAL)).rewrite(Videos.at({}, {}))
                write_folder_info(place, cls.name, info)  # last: it makes the folder an index
        return cls(place, info)

    @classmethod
    def open(cls, place: str) -> "ExactStore":
        return cls(place, read_own_info(place, cls.name))

    def write_info(self, info: IndexInfo) -> None:
        with self._mutex, self._locked():
            write_folder_info(self.place, self.name, info)
            self.info = info

    def refresh(self) -> None:
        with self._mutex:
            self.info = read_folder_info(self.place)[1]
            self._look()

    def close(self) -> None:
        with self._mutex:
            self._snapshot = Snapshot(Videos.at({}, {}), {})
            self._moved = {}

    def use_device(self, device: torch.device | str) -> None:
        with self._mutex:
            self._device, self._moved = torch.device(device), {}

    # ---- Videos ----

    def videos(self) -> Mapping[str, VideoEntry]:
        return self._snapshot.videos.entries

    def put(self, videos: Sequence[VideoMoments]) -> None:
        videos = list({video.video_id: video for video in videos}.values())
        self.check_width(videos)
        if not videos:
            return
        with self._new_segment() as writer:
            writer.write_videos(videos)
            starts = np.cumsum([0, *(len(video.moments) for video in videos)]).tolist()
            first = {video.video_id: start for video, start in zip(videos, starts, strict=False)}
            record = put_record(writer.name, {video.video_id: video.entry for video in videos}, first)
            with self._mutex, self._locked():
                self._journal.refresh()
                self._journal.append(record)
                writer.commit()
                self._look()

    def remove(self, video_ids: Iterable[str]) -> None:
        video_ids = list(dict.fromkeys(video_ids))
        with self._mutex, explained_writing(self.place), self._locked():
            self._look()
            self.check_known(video_ids)
            if video_ids:
                self._journal.append(remove_record(video_ids))
                self._look()

    def read(self, video_id: str) -> VideoMoments:
        snapshot = self._snapshot
        if video_id not in snapshot.videos.entries:
            self.check_known([video_id])
        return snapshot.read(video_id)

    def optimize(self) -> None:
        """Put small segments together, and leave out the rows of replaced and removed videos.

        It needs room for one more segment of SEGMENT_ROWS, and holds nobody up but for the moment of a new journal.
        """
        self.refresh()
        for names in self._to_rewrite(self._snapshot):
            self._rewrite(names)
        with self._mutex, explained_writing(self.place), self._locked():
            self._look()
            if self._journal.num_lost:
                self._journal.rewrite(self._journal.videos)
                self._look()
            remove_abandoned(self._segments, self._journal.videos.segments)

    @staticmethod
    def _to_rewrite(snapshot: Snapshot) -> Iterator[list[str]]:
        """Ids of videos that are to lie in a segment together."""
        entries, locations, _ = snapshot.videos
        live = dict.fromkeys(snapshot.segments, 0)
        for name, place in locations.items():
            live[place.segment] += entries[name].num_moments
        wasteful = {name for name, rows in live.items() if rows < MOST_LOST * len(snapshot.segments[name])}
        chosen = wasteful | {name for name, rows in live.items() if rows < SEGMENT_ROWS // 2}
        if not wasteful and len(chosen) < 2:
            return
        names, rows = [], 0
        for name, place in locations.items():
            if place.segment in chosen:
                if names and rows + entries[name].num_moments > SEGMENT_ROWS:
                    yield names
                    names, rows = [], 0
                names.append(name)
                rows += entries[name].num_moments
        if names:
            yield names

    def _rewrite(self, names: list[str]) -> None:
        """Move some videos to a segment of their own; those that were replaced or removed meanwhile stay so."""
        with self._new_segment() as writer:
            snapshot = self._snapshot
            old = {name: place for name in names if (place := snapshot.videos.locations.get(name)) is not None}
            if not old:
                return
            counts = [snapshot.videos.entries[name].num_moments for name in old]
            parts = {part: _mapped(snapshot, old, part) for part in (*HEADS, MOMENTS)}
            writer.write(sum(counts), self.info.dim, parts)
            starts = np.cumsum([0, *counts]).tolist()
            new = {name: Location(writer.name, start) for name, start in zip(old, starts, strict=False)}
            with self._mutex, self._locked():
                self._journal.refresh()
                entries, locations, _ = self._journal.videos
                moved = {name: new[name] if old.get(name) == place else place for name, place in locations.items()}
                self._journal.rewrite(Videos.at(entries, moved))
                writer.commit()
                self._look()

    # ---- Searching ----

    def search(
        self,
        queries: QueryVectors,
        k: int,
        where: MomentFilter = EVERYTHING,
        head: str = "contrastive",
        exact: bool = False,
    ) -> Hits:
        """See `VectorStore.search`; always exact, with products of float32 and the stored float16.

        Of equal cosines the moment of the video that was put first is the better.
        """
        self.check_head(head)
        self.check_known(where.videos)
        snapshot, device = self._snapshot, self._device
        passing = FilteredMoments(snapshot, where)
        hits, count = Hits.empty(len(queries), k), min(k, len(passing))
        if count and len(queries):
            asked = torch.from_numpy(np.ascontiguousarray(queries.vectors(head), np.float32))
            runs = passing.runs(self._vectors(snapshot, head, device))
            places, _ = nearest_vectors(asked.to(device), runs, count)
            _fill(hits, snapshot, passing, places.cpu().numpy(), queries, head)
        return hits

    def _vectors(self, snapshot: Snapshot, head: str, device: torch.device) -> list[torch.Tensor]:
        """The vectors of all segments, where they are searched: mapped, or moved to another device once and for all."""
        mapped = [segment.vectors(head) for segment in snapshot.segments.values()]
        if device.type == "cpu":
            return mapped
        with self._mutex:
            names = [(name, head, device) for name in snapshot.segments]
            self._moved = {name: tensor for name, tensor in self._moved.items() if name[0] in self._snapshot.segments}
            for name, vectors in zip(names, mapped, strict=True):
                if name not in self._moved:
                    self._moved[name] = self._move(vectors, device)
            return [self._moved[name] for name in names]

    def _move(self, vectors: torch.Tensor, device: torch.device) -> torch.Tensor:
        try:
            return vectors.to(device)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the vectors of the index {self.place} do not fit the memory of {device}: search it on the CPU, or by an "
                "approximate engine"
            ) from error

    # ---- Files ----

    def _locked(self) -> contextlib.AbstractContextManager:
        return file_lock(os.path.join(self.place, LOCK))

    @contextlib.contextmanager
    def _new_segment(self) -> Iterator[SegmentWriter]:
        """A segment to be written, and committed within; it goes again where the journal does not have it by then."""
        with explained_writing(self.place):
            with self._mutex, self._locked():
                self._look()
                remove_abandoned(self._segments, self._journal.videos.segments)
                writer = SegmentWriter(self._segments)
            try:
                yield writer
            finally:
                if not writer.lock.closed:
                    self._abandon(writer)

    def _abandon(self, writer: SegmentWriter) -> None:
        writer.lock.close()
        with self._mutex, self._locked():
            self._journal.refresh()
            remove_abandoned(self._segments, self._journal.videos.segments)

    def _look(self) -> None:
        """Take the snapshot of what the journal says now."""
        for _ in range(ATTEMPTS):
            if not self._journal.refresh() and self._snapshot.videos is self._journal.videos:
                return
            videos, mapped = self._journal.videos, self._snapshot.segments
            try:
                segments = {name: mapped[name] if name in mapped else self._map(name) for name in videos.segments}
            except FileNotFoundError as error:  # `optimize` of another process has put it into another one
                missing = error
                continue
            self._check_rows(videos, {name: segment for name, segment in segments.items() if name not in mapped})
            self._snapshot = Snapshot(videos, segments)
            return
        raise DataError(f"the index {self.place} lacks {missing.filename}: build it again") from missing

    def _map(self, name: str) -> Segment:
        return map_segment(os.path.join(self._segments, name), self.info.dim)

    def _check_rows(self, videos: Videos, segments: Mapping[str, Segment]) -> None:
        for name, segment in segments.items():
            if videos.segments[name].last_row > len(segment):
                raise DataError(f"the segment {name} of the index {self.place} lacks rows: build the index again")


def _fill(
    hits: Hits, snapshot: Snapshot, passing: FilteredMoments, places: np.ndarray, queries: QueryVectors, head: str
) -> None:
    """Write the moments at `places` [Q, count] into `hits`, each query's best first.

    Their cosines are computed anew, so that they depend neither on the other queries nor on the number of threads.
    """
    num_queries, count = places.shape
    rows = passing.rows(places.ravel())
    query = np.repeat(np.arange(num_queries), count)
    cosines = {name: snapshot.cosines(name, rows, queries.vectors(name), query).reshape(places.shape) for name in HEADS}
    order = np.lexsort((places, -cosines[head]), axis=1)
    hits.counts[:] = count
    filled = {
        "videos": snapshot.names[rows.videos].reshape(places.shape),
        "moments": snapshot.moments(rows).reshape(*places.shape, 2),
        **cosines,
    }
    for name, values in filled.items():
        index = order if values.ndim == 2 else order[..., None]
        getattr(hits, name)[:, :count] = np.take_along_axis(values, index, axis=1)


def _mapped(snapshot: Snapshot, video_ids: Iterable[str], part: str) -> Iterator[np.ndarray]:
    """One array of each video, as it lies in its segment."""
    for video_id in video_ids:
        yield snapshot.part(video_id, part)
