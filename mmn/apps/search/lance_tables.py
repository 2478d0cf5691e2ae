"""The tables of an index that LanceDB keeps: their columns, and the conversions from videos and to rows."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from mmn.apps.search.index_types import VideoMoments
from mmn.apps.search.row_store import VIDEO_COLUMNS, ConditionWords, FoundRows, VideoList, video_row

SQL = ConditionWords("entry IN ({})", "CAST({} AS FLOAT)", " AND ")


def moment_schema(dim: int) -> Any:
    """The columns of the moments, as an Arrow schema; vectors have `dim` numbers."""
    arrow = import_module("pyarrow")
    vector = arrow.list_(arrow.float16(), dim)
    fields = {"entry": arrow.int64(), "number": arrow.int32()}
    fields |= dict.fromkeys(("start", "end", "length"), arrow.float32()) | dict.fromkeys(("contrastive", "iou"), vector)
    return arrow.schema(fields)


def video_schema() -> Any:
    """The columns of the list of the videos, as an Arrow schema."""
    arrow = import_module("pyarrow")
    text, number = arrow.string(), arrow.int64()
    fields = {"video_id": text, "entry": number, "duration": arrow.float64(), "num_moments": number}
    return arrow.schema({**fields, "source": text, "path": text})


def moment_table(videos: Mapping[int, VideoMoments], dim: int) -> Any:
    """The moments of videos, by their entries, as an Arrow table."""
    arrow = import_module("pyarrow")
    counts = [len(video.moments) for video in videos.values()]
    moments = np.concatenate([video.moments for video in videos.values()]).astype(np.float32)

    def vectors(head: str) -> Any:
        rows = np.concatenate([video.vectors(head) for video in videos.values()])
        return arrow.FixedSizeListArray.from_arrays(arrow.array(rows.astype(np.float16).ravel()), dim)

    columns = {
        "entry": np.repeat(np.fromiter(videos, np.int64), counts),
        "number": np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        "start": np.ascontiguousarray(moments[:, 0]),
        "end": np.ascontiguousarray(moments[:, 1]),
        "length": moments[:, 1] - moments[:, 0],
        "contrastive": vectors("contrastive"),
        "iou": vectors("iou"),
    }
    return arrow.table(columns, schema=moment_schema(dim))


def video_table(videos: Mapping[int, VideoMoments]) -> Any:
    """The rows of videos in the list, by their entries, as an Arrow table."""
    rows = [video_row(entry, video) for entry, video in videos.items()]
    return import_module("pyarrow").Table.from_pylist(rows, schema=video_schema())


def read_list(table: Any) -> VideoList:
    """The list of the videos in LanceDB's table."""
    columns = table.to_arrow().to_pydict()
    return VideoList.from_rows(zip(*(columns[name] for name in VIDEO_COLUMNS), strict=True), table.version)


def to_rows(table: Any, dim: int) -> FoundRows:
    """Moments of an Arrow table with MOMENT_COLUMNS."""

    def values(name: str) -> np.ndarray:
        return table[name].combine_chunks().to_numpy(zero_copy_only=False)

    def vectors(name: str) -> np.ndarray:
        return table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)

    moments = np.stack([values("start"), values("end")], axis=1)
    return FoundRows(values("entry"), values("number"), moments, vectors("contrastive"), vectors("iou"))
