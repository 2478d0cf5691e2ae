"""The distributed store: an index on a Milvus server or cluster, by its address. Needs `pip install .[milvus]`.

A place is `http://HOST:PORT/NAME` (`https://` for an encrypted connection), with NAME for one index among others on the
server. The environment variable MILVUS_TOKEN may hold `user:password` or a token. An index is four collections:

    NAME               a row per moment: contrastive vector, times, and its video's entry (`mmn.apps.search.row_store`)
    NAME_iou           the same rows with the vectors of the IoU head (of earlier versions: both in NAME)
    NAME_videos        a row per video: which entry of the moments counts
    NAME_description   one row, the description as json

Everything is there for all clients as soon as it is written, so what `refresh` looks at is the list of the videos. The
server groups the vectors by itself; INDEX (`mmn.apps.search.milvus_collections`) and SEARCH_WIDTH are what it is told. It
has no comparison with everything (`exact`).
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from mmn.apps.search.index_types import IndexInfo, VideoMoments
from mmn.apps.search.milvus_collections import (
    PLACE_COLUMNS,
    UNUSED,
    WORDS,
    MomentCollections,
    RowPlace,
    check_version,
    description_fields,
    joined_rows,
    listed_row,
    make_collection,
    to_rows,
    video_fields,
    video_key,
)
from mmn.apps.search.row_store import VIDEO_COLUMNS, Condition, FoundRows, RowStore, VideoList
from mmn.apps.search.vector_store import IndexExists
from mmn.utils.errors import ConfigError, DataError, UserError

SEARCH_WIDTH = 512  # candidates that a search keeps ("ef"), or as many as it is to find where that is more
ROWS_AT_ONCE = 5000  # of an insertion: a message has a limit of 64 MB


class MilvusStore(RowStore):
    """See the module."""

    name = "milvus"
    max_hits = most_rows = 16384  # Milvus's own limit

    def __init__(self, place: str, info: IndexInfo, client: Any):
        super().__init__(place, info)
        self._client, self._collection = client, _split(place)[1]
        with _asking(place):
            self._moments = MomentCollections.found(client, self._collection)
        self._list = self._load()

    # ---- Being there ----

    @classmethod
    def create(cls, place: str, info: IndexInfo) -> "MilvusStore":
        client, (_, name) = _connect(place), _split(place)
        with _asking(place):
            if client.has_collection(f"{name}_description"):
                raise IndexExists(place)
            moments = MomentCollections.planned(name, client.get_server_version())
            for collection in (*moments.distinct(), f"{name}_videos"):
                client.drop_collection(collection)  # of one that was killed
            moments.make(client, info.dim)
            make_collection(client, f"{name}_videos", video_fields(), "unused")
            make_collection(client, f"{name}_description", description_fields(), "unused")
            _write_description(client, name, info)
        return cls(place, info, client)

    @classmethod
    def open(cls, place: str) -> "MilvusStore":
        client = _connect(place)
        return cls(place, _read_description(client, place), client)

    @classmethod
    def exists(cls, place: str) -> bool:
        """Ask whether there is an index at the address. Raises UserError where the server cannot be reached."""
        client = _connect(place)
        with _asking(place):
            return client.has_collection(f"{_split(place)[1]}_description")

    def write_info(self, info: IndexInfo) -> None:
        with _asking(self.place):
            _write_description(self._client, self._collection, info)
        self.info = info

    def refresh(self) -> None:
        self.info = _read_description(self._client, self.place)
        super().refresh()

    def close(self) -> None:
        self._client.close()

    # ---- Videos ----

    def optimize(self) -> None:
        """Delete what killed writers left, write everything to the server's storage, and have it merge its segments."""
        with self._writing():
            self._list = self._load()
            for collection in self._moments.distinct():
                counted = self._client.query(collection, filter="", output_fields=["count(*)"])[0]["count(*)"]
                if counted != self.num_moments:
                    entries = {row["entry"] for row in self._iterate(collection, ["entry"])}
                    if abandoned := self._abandoned(entries):
                        self._delete(abandoned)
                self._client.flush(collection)
                self._client.compact(collection)

    def _load(self) -> VideoList:
        with _asking(self.place):
            rows = list(self._iterate(f"{self._collection}_videos", list(VIDEO_COLUMNS)))
        return VideoList.from_rows([row[name] for name in VIDEO_COLUMNS] for row in rows)

    def _former(self, video_ids: Collection[str]) -> list[int]:
        keys = ", ".join(f'"{video_key(video_id)}"' for video_id in video_ids)
        rows = self._client.query(f"{self._collection}_videos", filter=f"key in [{keys}]", output_fields=["entry"])
        return [row["entry"] for row in rows]

    def _add(self, videos: Mapping[int, VideoMoments]) -> None:
        for collection in self._moments.distinct():
            rows = [row for entry, video in videos.items() for row in self._moments.rows(collection, entry, video)]
            for start in range(0, len(rows), ROWS_AT_ONCE):
                self._client.insert(collection, rows[start : start + ROWS_AT_ONCE])

    def _name(self, videos: Mapping[int, VideoMoments]) -> None:
        rows = [listed_row(entry, video) for entry, video in videos.items()]
        self._client.upsert(f"{self._collection}_videos", rows)

    def _forget(self, video_ids: Collection[str]) -> None:
        entries = [self._list.numbers[video_id] for video_id in video_ids]
        self._client.delete(f"{self._collection}_videos", filter=WORDS.of_entries(entries))

    def _delete(self, entries: Collection[int]) -> None:
        for collection in self._moments.distinct():
            self._client.delete(collection, filter=WORDS.of_entries(entries))

    def _rows_of(self, entry: int) -> FoundRows:
        parts = []
        with _asking(self.place):
            for collection, heads in self._moments.distinct().items():
                found = self._iterate(collection, [*PLACE_COLUMNS, *heads], WORDS.of_entries([entry]))
                parts.append({(row["entry"], row["number"]): row for row in found})
        return to_rows(joined_rows(parts), self.info.dim)

    def _iterate(self, collection: str, columns: list[str], condition: str = "entry >= 0") -> Iterator[dict[str, Any]]:
        """All rows of a collection that fulfil a condition; the server gives some thousands at a time."""
        iterator = self._client.query_iterator(
            collection, batch_size=1000, filter=condition, output_fields=columns, consistency_level="Strong"
        )
        try:
            while rows := iterator.next():
                yield from rows
        finally:
            iterator.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with _asking(self.place):
            yield

    # ---- Searching ----

    def _nearest(self, vector: np.ndarray, head: str, limit: int, condition: Condition, exact: bool) -> FoundRows:
        if exact:
            raise ConfigError(
                f"the index {self.place} cannot be searched exactly, Milvus approximates: copy it to an index of the exact "
                "engine (`mmn index --from`)"
            )
        collections = self._moments.distinct()
        searched = self._moments.names[head]
        heads = collections.pop(searched)
        with _asking(self.place):
            found = self._client.search(
                searched,
                data=[vector.astype(self._moments.dtype)],
                anns_field=head,
                limit=limit,
                filter=WORDS.of(condition),
                output_fields=[*PLACE_COLUMNS, *heads],
                search_params={"metric_type": "IP", "params": {"ef": max(SEARCH_WIDTH, limit)}},
                consistency_level="Strong",
            )
            parts = [{(hit["entity"]["entry"], hit["entity"]["number"]): hit["entity"] for hit in found[0]}]
            for collection, others in collections.items():
                parts.append(self._same_rows(collection, others, parts[0]))
        return to_rows(joined_rows(parts), self.info.dim)

    def _same_rows(self, collection: str, heads: Sequence[str], places: Collection[RowPlace]) -> dict[RowPlace, Any]:
        """The rows of another collection at these places, with the vectors that it has."""
        if not places:
            return {}
        keys = [f"{entry}_{number}" for entry, number in places]
        rows = self._client.get(
            collection, ids=keys, output_fields=["entry", "number", *heads], consistency_level="Strong"
        )
        return {(row["entry"], row["number"]): row for row in rows}


# ---- Connections ----


def _pymilvus() -> Any:
    """The client's library. Raises UserError where it is not installed."""
    try:
        pymilvus = import_module("pymilvus")
    except ImportError as error:
        raise UserError(
            "an index at an address needs pymilvus, which is not installed: pip install .[milvus]"
        ) from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # its errors are raised too
    return pymilvus


def _split(place: str) -> tuple[str, str]:
    """Server and name of an index.

    >>> _split("http://localhost:19530/library")
    ('http://localhost:19530', 'library')
    """
    match = re.fullmatch(r"(https?://[^/]+)/([A-Za-z_][A-Za-z0-9_]{0,200})/?", place)
    if not match:
        raise ConfigError(
            f"{place!r} is not the address of an index: give http://HOST:PORT/NAME, with a name of letters, digits and _"
        )
    return match[1], match[2]


def _connect(place: str) -> Any:
    """Client of the server, which is not too old."""
    server, _ = _split(place)
    with _asking(place):
        client = _pymilvus().MilvusClient(server, token=os.environ.get("MILVUS_TOKEN", ""), timeout=10)
        check_version(client.get_server_version(), place)
    return client


@contextlib.contextmanager
def _asking(place: str) -> Iterator[None]:
    """Within it the errors of the client's library become a UserError."""
    library = _pymilvus()
    try:
        yield
    except library.MilvusException as error:
        words = str(error.message).strip().splitlines()[0] if error.message else repr(error)
        raise UserError(
            f"the server of the index {place} failed ({words}): see that it runs and is reachable, then try again"
        ) from error


# ---- The description ----


def _write_description(client: Any, name: str, info: IndexInfo) -> None:
    client.upsert(f"{name}_description", [{"entry": 0, "text": json.dumps(info.to_dict()), **UNUSED}])


def _read_description(client: Any, place: str) -> IndexInfo:
    """Raises DataError where there is no index at `place`, or its description is damaged."""
    name = f"{_split(place)[1]}_description"
    with _asking(place):
        rows = []
        if client.has_collection(name):
            rows = client.query(name, filter="entry == 0", output_fields=["text"], consistency_level="Strong")
    if not rows:
        raise DataError(f"there is no index at {place}: correct the place, or build one by `mmn index`")
    try:
        values = json.loads(rows[0]["text"])
    except ValueError as error:
        raise DataError(f"the description of the index {place} is damaged ({error}): build it again") from error
    return IndexInfo.from_dict(values, place)
