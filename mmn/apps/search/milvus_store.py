"""The distributed store: an index on a Milvus server or cluster, by its address. Needs `pip install .[milvus]`.

A place is `http://HOST:PORT/NAME` (`https://` for an encrypted connection), with NAME for one index among others on the
server. The environment variable MILVUS_TOKEN may hold `user:password` or a token. An index is three collections:

    NAME               a row per moment: both heads' vectors, times, and its video's entry (`mmn.apps.search.row_store`)
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
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from mmn.apps.search.index_types import IndexInfo, VideoMoments
from mmn.apps.search.milvus_collections import (
    UNUSED,
    WORDS,
    description_fields,
    listed_row,
    make_collection,
    moment_fields,
    moment_rows,
    to_rows,
    video_fields,
    video_key,
)
from mmn.apps.search.row_store import MOMENT_COLUMNS, VIDEO_COLUMNS, Condition, FoundRows, RowStore, VideoList
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
        self._is_lite = _is_lite(client)
        self._list = self._load()

    # ---- Being there ----

    @classmethod
    def create(cls, place: str, info: IndexInfo) -> "MilvusStore":
        client, (_, name) = _connect(place), _split(place)
        with _asking(place):
            if client.has_collection(f"{name}_description"):
                raise IndexExists(place)
            for collection in (name, f"{name}_videos"):
                client.drop_collection(collection)  # of one that was killed
            make_collection(client, name, moment_fields(info.dim, _is_lite(client)), ("contrastive", "iou"))
            make_collection(client, f"{name}_videos", video_fields(), ("unused",))
            make_collection(client, f"{name}_description", description_fields(), ("unused",))
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
            counted = self._client.query(self._collection, filter="", output_fields=["count(*)"])[0]["count(*)"]
            if counted != self.num_moments:
                entries = {row["entry"] for row in self._iterate(self._collection, ["entry"])}
                if abandoned := self._abandoned(entries):
                    self._delete(abandoned)
            self._client.flush(self._collection)
            self._client.compact(self._collection)

    def _load(self) -> VideoList:
        with _asking(self.place):
            rows = list(self._iterate(f"{self._collection}_videos", list(VIDEO_COLUMNS)))
        return VideoList.from_rows([row[name] for name in VIDEO_COLUMNS] for row in rows)

    def _former(self, video_ids: Collection[str]) -> list[int]:
        keys = ", ".join(f'"{video_key(video_id)}"' for video_id in video_ids)
        rows = self._client.query(f"{self._collection}_videos", filter=f"key in [{keys}]", output_fields=["entry"])
        return [row["entry"] for row in rows]

    def _add(self, videos: Mapping[int, VideoMoments]) -> None:
        rows = [row for entry, video in videos.items() for row in moment_rows(entry, video, self._is_lite)]
        for start in range(0, len(rows), ROWS_AT_ONCE):
            self._client.insert(self._collection, rows[start : start + ROWS_AT_ONCE])

    def _name(self, videos: Mapping[int, VideoMoments]) -> None:
        rows = [listed_row(entry, video) for entry, video in videos.items()]
        self._client.upsert(f"{self._collection}_videos", rows)

    def _forget(self, video_ids: Collection[str]) -> None:
        entries = [self._list.numbers[video_id] for video_id in video_ids]
        self._client.delete(f"{self._collection}_videos", filter=WORDS.of_entries(entries))

    def _delete(self, entries: Collection[int]) -> None:
        self._client.delete(self._collection, filter=WORDS.of_entries(entries))

    def _rows_of(self, entry: int) -> FoundRows:
        with _asking(self.place):
            rows = list(self._iterate(self._collection, list(MOMENT_COLUMNS), WORDS.of_entries([entry])))
        return to_rows(rows, self.info.dim)

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
        with _asking(self.place):
            found = self._client.search(
                self._collection,
                data=[vector if self._is_lite else vector.astype(np.float16)],
                anns_field=head,
                limit=limit,
                filter=WORDS.of(condition),
                output_fields=list(MOMENT_COLUMNS),
                search_params={"metric_type": "IP", "params": {"ef": max(SEARCH_WIDTH, limit)}},
                consistency_level="Strong",
            )
            return to_rows([hit["entity"] for hit in found[0]], self.info.dim)


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
    server, _ = _split(place)
    with _asking(place):
        return _pymilvus().MilvusClient(server, token=os.environ.get("MILVUS_TOKEN", ""), timeout=10)


def _is_lite(client: Any) -> bool:
    return "lite" in client.get_server_version().lower()


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
