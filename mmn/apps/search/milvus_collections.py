"""The collections of an index on a Milvus server: their fields, and the conversions from videos and to rows.

A collection has one field of vectors, since before version 2.4 it could not have more. Vectors are kept as float16 from
2.4 on; older servers and Milvus Lite, which lack it, keep the same values as float32.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from mmn.apps.search.index_types import VideoMoments
from mmn.apps.search.row_store import MOMENT_COLUMNS, ConditionWords, FoundRows, video_row
from mmn.structures.query_vectors import HEADS
from mmn.utils.errors import UserError

# The IoU head's vectors are compared whole where they are searched; mostly they are only given back with the others'.
INDEX = {"contrastive": {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}}
WHOLE = {"index_type": "FLAT"}
TEXT = 65535  # bytes, the most that the server takes
UNUSED = {"unused": [0.0, 0.0]}  # every collection must have a vector
Fields = Mapping[str, tuple[str, dict[str, Any]]]
"""Type and options of each field, as `create_schema` takes them."""
WORDS = ConditionWords("entry in [{}]", "{}", " and ")


PLACE_COLUMNS = [name for name in MOMENT_COLUMNS if name not in HEADS]
RowPlace = tuple[int, int]
"""Entry and number of a moment: by these its rows in several collections are one."""
OLDEST = (2, 3)  # the first version that replaces rows by their key
OLDEST_WITH_FLOAT16 = (2, 4)


@dataclass(frozen=True)
class MomentCollections:
    """The collections that hold the moments of an index.

    Attributes:
        names: by head, the collection whose field of that name has its vectors. Indexes of earlier versions of this
            program have one collection with both.
        dtype: number format of the vectors on the server.
    """

    names: Mapping[str, str]
    dtype: type[np.floating]

    @classmethod
    def planned(cls, name: str, version: str) -> "MomentCollections":
        """Collections of a new index on a server of this version, as `get_server_version` gives it."""
        has_float16 = not version.startswith("milvus_lite") and version_of(version) >= OLDEST_WITH_FLOAT16
        names = {head: name if head == HEADS[0] else f"{name}_{head}" for head in HEADS}
        return cls(names, np.float16 if has_float16 else np.float32)

    @classmethod
    def found(cls, client: Any, name: str) -> "MomentCollections":
        """Collections of the index that is there."""
        fields = {field["name"]: field for field in client.describe_collection(name)["fields"]}
        is_half = fields[HEADS[0]]["type"] == import_module("pymilvus").DataType.FLOAT16_VECTOR
        names = {head: name if head in fields else f"{name}_{head}" for head in HEADS}
        return cls(names, np.float16 if is_half else np.float32)

    def distinct(self) -> dict[str, tuple[str, ...]]:
        """Each collection once, with the heads whose vectors it has."""
        return {name: tuple(head for head in HEADS if self.names[head] == name) for name in self.names.values()}

    def make(self, client: Any, dim: int) -> None:
        """Make them, for vectors of `dim` numbers."""
        for head, name in self.names.items():
            make_collection(client, name, moment_fields(head, dim, self.dtype), head)

    def rows(self, name: str, entry: int, video: VideoMoments) -> Iterator[dict[str, Any]]:
        """The rows of a video's moments in the collection `name`, under its entry."""
        vectors = {head: video.vectors(head).astype(self.dtype) for head in self.distinct()[name]}
        moments = video.moments.astype(np.float32)
        lengths = (moments[:, 1] - moments[:, 0]).tolist()
        is_joined = len(vectors) == 1
        for number, ((start, end), length) in enumerate(zip(moments.tolist(), lengths, strict=True)):
            row = {"entry": entry, "number": number, "start": start, "end": end, "length": length}
            key = {"key": f"{entry}_{number}"} if is_joined else {}  # one collection numbers its rows itself
            yield {**key, **row, **{head: vector[number] for head, vector in vectors.items()}}


def version_of(text: str) -> tuple[int, int]:
    """Major and minor number of a server's version; a text without any counts as newest.

    >>> version_of("v2.3.5-lite"), version_of("Zilliz Cloud (compatible with Milvus 2.6)")
    ((2, 3), (2, 6))
    """
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (10**6, 0)


def check_version(text: str, place: str) -> None:
    """Raise UserError for a server that is too old to hold an index."""
    if version_of(text) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise UserError(
            f"the server of the index {place} is Milvus {text}, which cannot replace rows: {needed} or later is needed"
        )


def make_collection(client: Any, name: str, fields: Fields, vector: str) -> None:
    """Make a collection with these fields, indexed by `vector` and ready for searches."""
    types = import_module("pymilvus").DataType
    schema = client.create_schema(enable_dynamic_field=False)
    for field, (kind, options) in fields.items():
        schema.add_field(field, getattr(types, kind), **options)
    parameters = client.prepare_index_params()
    parameters.add_index(vector, metric_type="IP", **INDEX.get(vector, WHOLE))
    client.create_collection(name, schema=schema, index_params=parameters, consistency_level="Strong")
    client.load_collection(name)


def moment_fields(head: str, dim: int, dtype: type[np.floating]) -> Fields:
    """The fields of a moment's row in the collection of one head; vectors have `dim` numbers."""
    return {
        "key": ("VARCHAR", {"max_length": 32, "is_primary": True}),
        "entry": ("INT64", {}),
        "number": ("INT64", {}),
        **dict.fromkeys(("start", "end", "length"), ("FLOAT", {})),
        head: ("FLOAT16_VECTOR" if dtype == np.float16 else "FLOAT_VECTOR", {"dim": dim}),
    }


def video_fields() -> Fields:
    """The fields of a video's row in the list."""
    text = ("VARCHAR", {"max_length": TEXT})
    return {
        "key": ("VARCHAR", {"max_length": 64, "is_primary": True}),
        "video_id": text,
        "entry": ("INT64", {}),
        "duration": ("DOUBLE", {}),
        "num_moments": ("INT64", {}),
        "source": text,
        "path": text,
        "unused": ("FLOAT_VECTOR", {"dim": 2}),
    }


def description_fields() -> Fields:
    """The fields of the row that holds the description."""
    return {
        "entry": ("INT64", {"is_primary": True}),
        "text": ("VARCHAR", {"max_length": TEXT}),
        "unused": ("FLOAT_VECTOR", {"dim": 2}),
    }


def listed_row(entry: int, video: VideoMoments) -> dict[str, Any]:
    """The row of a video in the list of the videos."""
    return {"key": video_key(video.video_id), **video_row(entry, video), **UNUSED}


def video_key(video_id: str) -> str:
    """Stands for a video's id where the server compares: an id may be any text, which its language would have to quote."""
    return hashlib.sha256(video_id.encode()).hexdigest()


def joined_rows(parts: Sequence[Mapping[RowPlace, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The rows that all collections have, in the order of the first; one that is being replaced may lack in some."""
    first, *others = parts
    return [
        {name: value for part in parts for name, value in part[place].items()}
        for place in first
        if all(place in other for other in others)
    ]


def to_rows(found: list[dict[str, Any]], dim: int) -> FoundRows:
    """Moments as the client gives them, with MOMENT_COLUMNS."""
    moments = np.array([(row["start"], row["end"]) for row in found], np.float32).reshape(-1, 2)
    entries, numbers = (np.array([row[name] for row in found], np.int64) for name in ("entry", "number"))
    vectors = (np.array([_vector(row[name]) for row in found], np.float16) for name in ("contrastive", "iou"))
    return FoundRows(entries, numbers, moments, *(part.reshape(-1, dim) for part in vectors))


def _vector(value: Any) -> np.ndarray:
    """[C] float16; Milvus sends such vectors as bytes, Milvus Lite numbers."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], bytes):
        value = value[0]
    return np.frombuffer(value, np.float16) if isinstance(value, bytes) else np.asarray(value, np.float16)
