"""The journal, which says which video lies where: a file of lines that only grows, so that a change costs what it changes.

A line is a checksum and a change in json: the videos of a new segment, or the ids of removed ones. The last line may be
torn by a writer that was killed; it is not there, then. The first line names the journal: when it is written anew,
shorter, in the place of the old one, readers see another name and start over.
"""

import json
import os
import uuid
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mmn.apps.search.index_types import FORMAT, VideoEntry
from mmn.utils.errors import DataError, failed_read
from mmn.utils.files import atomic_path

VIDEOS_OF_A_LINE = 1000  # where a journal is written anew


class Location(NamedTuple):
    """The place where a video's rows begin: the segment's name, and the row in it."""

    segment: str
    first: int


class SegmentUse(NamedTuple):
    """The part of a segment that an index uses: how many videos, and rows up to which one."""

    num_videos: int
    last_row: int


class Videos(NamedTuple):
    """The videos of an index, by their ids, in the order in which they were put, and the segments by their names."""

    entries: Mapping[str, VideoEntry]
    locations: Mapping[str, Location]
    segments: Mapping[str, SegmentUse]

    @classmethod
    def at(cls, entries: Mapping[str, VideoEntry], locations: Mapping[str, Location]) -> "Videos":
        """Videos that lie there."""
        segments: dict[str, SegmentUse] = {}
        for name, (segment, first) in locations.items():
            _count(segments, segment, 1, first + entries[name].num_moments)
        return cls(entries, locations, segments)


def _count(segments: dict[str, SegmentUse], segment: str, num_videos: int, last_row: int = 0) -> None:
    """Note that `num_videos` more, or fewer, lie in a segment; it goes with its last one."""
    use = segments.pop(segment, SegmentUse(0, 0))
    if use.num_videos + num_videos:
        segments[segment] = SegmentUse(use.num_videos + num_videos, max(use.last_row, last_row))


@dataclass(frozen=True)
class _State:
    """The progress of a reader: the journal's name, what `os.stat` said, the offset after the last whole line."""

    name: str
    seen: tuple[int, int, int]
    offset: int


def put_record(segment: str, videos: Mapping[str, VideoEntry], first: Mapping[str, int]) -> dict[str, Any]:
    """The change that puts videos, whose rows in the segment begin at `first`."""
    rows = [
        [name, first[name], entry.num_moments, entry.duration, entry.source, entry.path]
        for name, entry in videos.items()
    ]
    return {"segment": segment, "videos": rows}


def remove_record(video_ids: Iterable[str]) -> dict[str, Any]:
    return {"removed": list(video_ids)}


class Journal:
    """A journal as one process reads and writes it.

    Attributes:
        videos: their state at the last `refresh` or `append`; it is replaced, never changed.
        num_lost: places in the file that no longer mean anything.
    """

    def __init__(self, path: str):
        self.path = path
        self.videos = Videos.at({}, {})
        self.num_lost = 0
        self._state: _State | None = None

    def refresh(self) -> bool:
        """Read what is new; returns whether there was anything. Cheap where there is not. Raises DataError for damage."""
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                seen = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._state is not None and self._state.seen == seen:
                    return False
                header = file.readline()
                name = self._name(header)
                is_same = self._state is not None and self._state.name == name
                start = self._state.offset if is_same else len(header)
                file.seek(start)
                content = file.read()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({failed_read(error)}): build the index again") from error
        end = content.rfind(b"\n") + 1  # what comes after is being written, or was when its writer died
        records = [self._parsed(line) for line in content[:end].splitlines()]
        if not is_same:
            self.num_lost = 0
        self.videos = self._applied(self.videos if is_same else Videos.at({}, {}), records)
        self._state = _State(name, seen, start + end)
        return bool(records) or not is_same

    def append(self, record: dict[str, Any]) -> None:
        """Add a change, as a line that is on the disk when this returns. Call it with the lock held, after a `refresh`."""
        with open(self.path, "r+b") as file:
            file.truncate(self._state.offset)  # a torn line
            file.seek(self._state.offset)
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())
        self.refresh()

    def rewrite(self, videos: Videos) -> None:
        """Replace the journal by one that says just this. Call it with the lock held."""
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            file.write(_line({"journal": uuid.uuid4().hex, "format": FORMAT}))
            for segment, names in _stretches(videos):
                entries = {name: videos.entries[name] for name in names}
                file.write(_line(put_record(segment, entries, {name: videos.locations[name].first for name in names})))
        self.refresh()

    def _name(self, header: bytes) -> str:
        record = self._parsed(header.rstrip(b"\n"))
        if "journal" not in record:
            raise self._damage()
        if record.get("format") != FORMAT:
            raise DataError(
                f"{self.path} has format {record.get('format')}, but this version reads {FORMAT}: build the index again, "
                "or use the version that built it"
            )
        return record["journal"]

    def _parsed(self, line: bytes) -> dict[str, Any]:
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(text):
            raise self._damage()
        return json.loads(text)

    def _damage(self) -> DataError:
        return DataError(f"{self.path} is damaged: build the index again")

    def _applied(self, videos: Videos, records: Iterable[dict[str, Any]]) -> Videos:
        entries, locations, segments = (dict(part) for part in videos)

        def lose(name: str) -> None:
            del entries[name]
            _count(segments, locations.pop(name).segment, -1)
            self.num_lost += 1

        for record in records:
            for name in record.get("removed", ()):
                lose(name)
            for name, first, num_moments, duration, source, path in record.get("videos", ()):
                if name in entries:  # a replaced video comes last, like a new one
                    lose(name)
                entries[name] = VideoEntry(duration, num_moments, source, path)
                locations[name] = Location(record["segment"], first)
                _count(segments, record["segment"], 1, first + num_moments)
        return Videos(entries, locations, segments)


def _line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _stretches(videos: Videos) -> Iterable[tuple[str, list[str]]]:
    """(segment, ids of videos that follow each other and lie in it), at most VIDEOS_OF_A_LINE at a time."""
    segment, names = "", []
    for name, location in videos.locations.items():
        if names and (location.segment != segment or len(names) == VIDEOS_OF_A_LINE):
            yield segment, names
            names = []
        segment = location.segment
        names.append(name)
    if names:
        yield segment, names
