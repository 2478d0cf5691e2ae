"""The collections of an index on a Milvus server: their fields, and the conversions from videos and to rows.

Milvus keeps float16; Milvus Lite, which the tests run, lacks it, and keeps the same values as float32.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from mmn.apps.search.index_types import VideoMoments
from mmn.apps.search.row_store import ConditionWords, FoundRows, video_row

# The IoU head's vectors are compared whole where they are searched; mostly they are only given back with the others'.
INDEX = {"contrastive": {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}}
WHOLE = {"index_type": "FLAT"}
TEXT = 65535  # bytes, the most that the server takes
UNUSED = {"unused": [0.0, 0.0]}  # every collection must have a vector
Fields = Mapping[str, tuple[str, dict[str, Any]]]
"""Type and options of each field, as `create_schema` takes them."""
WORDS = ConditionWords("entry in [{}]", "{}", " and ")


def make_collection(client: Any, name: str, fields: Fields, vectors: Iterable[str]) -> None:
    """Make a collection with these fields, indexed by those that are vectors and ready for searches."""
    types = import_module("pymilvus").DataType
    schema = client.create_schema(enable_dynamic_field=False)
    for field, (kind, options) in fields.items():
        schema.add_field(field, getattr(types, kind), **options)
    parameters = client.prepare_index_params()
    for field in vectors:
        parameters.add_index(field, metric_type="IP", **INDEX.get(field, WHOLE))
    client.create_collection(name, schema=schema, index_params=parameters, consistency_level="Strong")
    client.load_collection(name)


def moment_fields(dim: int, is_lite: bool) -> Fields:
    """The fields of a moment's row; vectors have `dim` numbers."""
    vector = ("FLOAT_VECTOR" if is_lite else "FLOAT16_VECTOR", {"dim": dim})
    return {
        "id": ("INT64", {"is_primary": True, "auto_id": True}),
        "entry": ("INT64", {}),
        "number": ("INT64", {}),
        **dict.fromkeys(("start", "end", "length"), ("FLOAT", {})),
        "contrastive": vector,
        "iou": vector,
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


def moment_rows(entry: int, video: VideoMoments, is_lite: bool) -> Iterator[dict[str, Any]]:
    """The rows of a video's moments, under its entry."""
    dtype = np.float32 if is_lite else np.float16
    contrastive, iou = video.contrastive.astype(dtype), video.iou.astype(dtype)
    moments = video.moments.astype(np.float32)
    lengths = (moments[:, 1] - moments[:, 0]).tolist()
    for number, ((start, end), length) in enumerate(zip(moments.tolist(), lengths, strict=True)):
        row = {"entry": entry, "number": number, "start": start, "end": end, "length": length}
        yield {**row, "contrastive": contrastive[number], "iou": iou[number]}


def listed_row(entry: int, video: VideoMoments) -> dict[str, Any]:
    """The row of a video in the list of the videos."""
    return {"key": video_key(video.video_id), **video_row(entry, video), **UNUSED}


def video_key(video_id: str) -> str:
    """Stands for a video's id where the server compares: an id may be any text, which its language would have to quote."""
    return hashlib.sha256(video_id.encode()).hexdigest()


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
