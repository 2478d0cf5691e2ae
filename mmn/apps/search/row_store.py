"""Vector stores over a database of rows, a row per moment, that cannot change many rows at once.

Each time a video is put its rows get a number of their own, its entry, and a list of the videos says which entry of each
counts. So a video is put in three steps: its rows are added, the list names them (this is what makes the change), and the
rows of its former entry are deleted. A writer that is killed in between leaves rows that no list names: they are never
found, and `optimize` deletes them.
"""

import contextlib
import math
import secrets
import sys
import time
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmn.apps.search.index_types import Hits, IndexInfo, MomentFilter, VideoEntry, VideoMoments
from mmn.apps.search.vector_store import EVERYTHING, VectorStore
from mmn.structures.query_vectors import HEADS, QueryVectors
from mmn.utils.errors import ConfigError, DataError

SLACK = 16  # rows asked for beyond k: databases compare in half precision, here the best are compared anew
GROWTH = 4  # of how many rows are asked for, where too few of them count
RANDOM_BITS = 22  # of an entry, behind the milliseconds of its time
ABANDONED_SECONDS = 3600  # rows that no list names are a killed writer's by then, and not a living one's
ATTEMPTS = 5
MOMENT_COLUMNS = (
    "entry",
    "number",
    "start",
    "end",
    "contrastive",
    "iou",
)  # of a moment's row, as `FoundRows` needs them
VIDEO_COLUMNS = ("video_id", "entry", "duration", "num_moments", "source", "path")  # of a row of the list of the videos


@dataclass(frozen=True, eq=False)
class FoundRows:
    """n moments as a database gives them back.

    Attributes:
        entries, numbers: [n] int64, the entry that each is of, and its place within the video.
        moments: [n, 2] float32 seconds.
        contrastive, iou: [n, C] float16.
    """

    entries: np.ndarray
    numbers: np.ndarray
    moments: np.ndarray
    contrastive: np.ndarray
    iou: np.ndarray

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: np.ndarray) -> "FoundRows":
        return FoundRows(
            *(part[index] for part in (self.entries, self.numbers, self.moments, self.contrastive, self.iou))
        )

    def vectors(self, head: str) -> np.ndarray:
        return {"contrastive": self.contrastive, "iou": self.iou}[head]


@dataclass(frozen=True)
class Condition:
    """The rows that a database is to look at.

    Attributes:
        entries: None for all.
        min_length, max_length: seconds, both inclusive.
        num_rows: rows of these entries in all.
    """

    entries: Collection[int] | None
    min_length: float
    max_length: float
    num_rows: int

    @property
    def bounds_length(self) -> bool:
        return self.min_length > 0 or not np.isinf(self.max_length)


@dataclass(frozen=True)
class ConditionWords:
    """Conditions in the words of a database's language. Lengths are compared in float32, as `MomentFilter.passes` does.

    Attributes:
        among: the condition that a row is of one of some entries, with {} for their list.
        number: a number of 32 bits, with {} for its digits.
        joint: the word between two conditions that are both to hold.
    """

    among: str
    number: str
    joint: str

    def of_entries(self, entries: Iterable[int]) -> str:
        """The condition that a row is of one of the entries."""
        return self.among.format(", ".join(map(str, entries)))

    def of(self, condition: Condition) -> str:
        """The condition in words; "" where all rows fulfil it."""
        words = [] if condition.entries is None else [self.of_entries(condition.entries)]
        if condition.min_length > 0:
            words.append(f"length >= {self._number(condition.min_length)}")
        if not math.isinf(condition.max_length):
            words.append(f"length <= {self._number(condition.max_length)}")
        return self.joint.join(words)

    def _number(self, value: float) -> str:
        return self.number.format(repr(float(np.float32(value))))


class VideoList:
    """The videos of an index and the entries that count.

    Args:
        listed: the number of a video's entry and what the list says of the video, by its id.
        version: the number of this state of the list, where the database counts them.
    """

    def __init__(self, listed: Mapping[str, tuple[int, VideoEntry]], version: int | None = None):
        self.version = version
        self.entries = {video_id: entry for video_id, (_, entry) in listed.items()}
        self.numbers = {video_id: number for video_id, (number, _) in listed.items()}
        self.names = {number: video_id for video_id, number in self.numbers.items()}

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]], version: int | None = None) -> "VideoList":
        """The list in a database's rows, each the values of VIDEO_COLUMNS."""
        return cls({video_id: (number, VideoEntry(*rest)) for video_id, number, *rest in rows}, version)

    def changed(
        self, version: int | None, put: Mapping[int, VideoMoments], removed: Collection[str] = ()
    ) -> "VideoList":
        """The list in a next version, with videos put as these entries, and without those removed."""
        new = VideoList({}, version)
        new.entries, new.numbers, new.names = dict(self.entries), dict(self.numbers), dict(self.names)
        for video_id in [*(video.video_id for video in put.values()), *removed]:
            new.names.pop(new.numbers.pop(video_id, None), None)
            if video_id in removed:
                del new.entries[video_id]
        for number, video in put.items():
            new.entries[video.video_id] = video.entry
            new.numbers[video.video_id] = number
            new.names[number] = video.video_id
        return new

    def condition(self, where: MomentFilter) -> Condition:
        videos = self.entries if where.videos is None else dict.fromkeys(where.videos)
        numbers = None if where.videos is None else [self.numbers[video_id] for video_id in videos]
        num_rows = sum(self.entries[video_id].num_moments for video_id in videos)
        return Condition(numbers, where.min_length, where.max_length, num_rows)


def video_row(entry: int, video: VideoMoments) -> dict[str, Any]:
    """The row of a video in the list, with VIDEO_COLUMNS."""
    values = (video.video_id, entry, float(video.duration), len(video.moments), video.source, video.path)
    return dict(zip(VIDEO_COLUMNS, values, strict=True))


class RowStore(VectorStore):
    """The common part of such stores; a subclass speaks to its database.

    Attributes:
        most_rows: rows that the database gives back at once, at most.
    """

    most_rows = sys.maxsize

    def __init__(self, place: str, info: IndexInfo):
        super().__init__(place, info)
        self._list = VideoList({})

    # ---- The database ----

    @abstractmethod
    def _load(self) -> VideoList:
        """See the database's newest state from now on; returns the list as it is there."""

    @abstractmethod
    def _former(self, video_ids: Collection[str]) -> list[int]:
        """The entries of those of the videos that the newest list has."""

    @abstractmethod
    def _add(self, videos: Mapping[int, VideoMoments]) -> None:
        """Add the rows of videos, by their entries."""

    @abstractmethod
    def _name(self, videos: Mapping[int, VideoMoments]) -> int | None:
        """Make the list name these entries of the videos, each wholly or not. Returns the list's version."""

    @abstractmethod
    def _forget(self, video_ids: Collection[str]) -> int | None:
        """Take videos out of the list. Returns its version."""

    @abstractmethod
    def _delete(self, entries: Collection[int]) -> None:
        """Delete the rows of entries."""

    @abstractmethod
    def _rows_of(self, entry: int) -> FoundRows:
        """All rows of an entry, in any order."""

    @abstractmethod
    def _nearest(self, vector: np.ndarray, head: str, limit: int, condition: Condition, exact: bool) -> FoundRows:
        """The `limit` rows nearest to a vector [C]; fewer where no more fulfil the condition."""

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Around a change: keeps other writers out where that is possible."""
        yield

    # ---- Videos ----

    def refresh(self) -> None:
        self._list = self._load()

    def videos(self) -> Mapping[str, VideoEntry]:
        return self._list.entries

    def put(self, videos: Sequence[VideoMoments]) -> None:
        videos = list({video.video_id: video for video in videos}.values())
        self.check_width(videos)
        if not videos:
            return
        with self._writing():
            old = self._former([video.video_id for video in videos])
            new = dict(zip(_new_entries(len(videos)), videos, strict=True))
            self._add(new)
            self._list = self._list.changed(self._name(new), new)
            if old:
                self._delete(old)

    def remove(self, video_ids: Iterable[str]) -> None:
        video_ids = list(dict.fromkeys(video_ids))
        with self._writing():
            self._list = self._load()
            self.check_known(video_ids)
            if video_ids:
                old = [self._list.numbers[video_id] for video_id in video_ids]
                self._list = self._list.changed(self._forget(video_ids), {}, video_ids)
                self._delete(old)

    def read(self, video_id: str) -> VideoMoments:
        for attempt in range(ATTEMPTS):
            self.check_known([video_id])
            entry = self._list.entries[video_id]
            rows = self._rows_of(self._list.numbers[video_id])
            if len(rows) == entry.num_moments:
                rows = rows[np.argsort(rows.numbers)]
                vectors = (rows.contrastive, rows.iou)
                return VideoMoments(video_id, entry.duration, rows.moments, *vectors, entry.source, entry.path)
            if attempt + 1 < ATTEMPTS:
                self.refresh()  # it has been replaced
        raise DataError(
            f"the index {self.place} has {len(rows)} of the {entry.num_moments} moments of video {video_id}: put the "
            "video again"
        )

    # ---- Searching ----

    def search(
        self,
        queries: QueryVectors,
        k: int,
        where: MomentFilter = EVERYTHING,
        head: str = "contrastive",
        exact: bool = False,
    ) -> Hits:
        self.check_head(head)
        self.check_known(where.videos)
        hits, videos = Hits.empty(len(queries), k), self._list
        condition = videos.condition(where)
        if condition.num_rows and k:
            asked = np.ascontiguousarray(queries.vectors(head), np.float32)
            for query, vector in enumerate(asked):
                rows = self._find(vector, head, k, condition, exact, videos)
                _fill(hits, query, rows, videos, queries, head)
        return hits

    def _find(
        self, vector: np.ndarray, head: str, k: int, condition: Condition, exact: bool, videos: VideoList
    ) -> FoundRows:
        """At least the k nearest rows that count, where there are as many."""
        wanted = min(k, condition.num_rows)
        if wanted > self.most_rows:
            raise ConfigError(
                f"{k} hits were asked for, but the index {self.place} gives {self.most_rows} at most: ask for fewer"
            )
        limit = min(wanted + SLACK, self.most_rows)
        while True:
            rows = self._nearest(vector, head, limit, condition, exact)
            counting = np.fromiter((entry in videos.names for entry in rows.entries.tolist()), bool, len(rows))
            if counting.sum() >= wanted or len(rows) < limit or limit == self.most_rows:
                return rows[counting]
            limit = min(limit * GROWTH, self.most_rows)

    # ---- Clearing up ----

    def _abandoned(self, entries: Iterable[int]) -> list[int]:
        """The entries among these that no list names and that nobody is about to name."""
        newest = _entry_at(time.time() - ABANDONED_SECONDS)
        return [entry for entry in entries if entry not in self._list.names and entry < newest]


def _fill(hits: Hits, query: int, rows: FoundRows, videos: VideoList, queries: QueryVectors, head: str) -> None:
    """Write the best of the rows into the hits of one query, by cosines computed anew in float32."""
    cosines = {
        name: (rows.vectors(name).astype(np.float32) * queries.vectors(name)[query].astype(np.float32)).sum(axis=1)
        for name in HEADS
    }
    order = np.lexsort((rows.numbers, rows.entries, -cosines[head]))[: hits.videos.shape[1]]
    count = len(order)
    hits.counts[query] = count
    hits.videos[query, :count] = [videos.names[entry] for entry in rows.entries[order].tolist()]
    hits.moments[query, :count] = rows.moments[order]
    for name in HEADS:
        hits.cosines(name)[query, :count] = cosines[name][order]


def _entry_at(seconds: float) -> int:
    return int(seconds * 1000) << RANDOM_BITS


def _new_entries(count: int) -> range:
    """Numbers that no other writer has drawn: their time, and random bits."""
    first = _entry_at(time.time()) + secrets.randbits(RANDOM_BITS)
    return range(first, first + count)
