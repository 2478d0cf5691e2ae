"""Ids by which feature tracks find rows: those of a video, or those that a video has for one of its sentences."""

import re
from dataclasses import dataclass

VID, QID = "{vid}", "{qid}"  # stand for the ids of a video and a sentence in the place of a track's rows


@dataclass(frozen=True)
class SentenceRows:
    """The rows that the video `video_id` has for its sentence `qid`."""

    video_id: str
    qid: str

    def __str__(self) -> str:
        return f"{self.video_id} (qid {self.qid})"


RowsId = str | SentenceRows  # a video's id, where its rows are the same for all its sentences


def video_of(rows_id: RowsId) -> str:
    """The id of the video that rows are of."""
    return rows_id if isinstance(rows_id, str) else rows_id.video_id


def fill(pattern: str, rows_id: RowsId) -> str:
    """The place of rows: a pattern with the ids in place of `{vid}` and `{qid}`.

    >>> fill("{vid}_{qid}.npz", SentenceRows("walk", "7"))
    'walk_7.npz'
    """
    ids = {VID: rows_id} if isinstance(rows_id, str) else {VID: rows_id.video_id, QID: rows_id.qid}
    return re.sub(r"\{[vq]id\}", lambda found: ids.get(found[0], found[0]), pattern)


def found_by(pattern: str, rows_ids: list[RowsId]) -> list[RowsId]:
    """The ids that a pattern tells apart: those of the videos alone, each once, where it has no `{qid}`."""
    return rows_ids if QID in pattern else list(dict.fromkeys(map(video_of, rows_ids)))


def shown(pattern: str, rows_id: RowsId) -> str:
    """Name of rows in a list of such: the video's, or where they are a sentence's, their place."""
    return rows_id if isinstance(rows_id, str) else fill(pattern, rows_id)
