"""Hints about what a feature file holds in the place of rows that it lacks."""

import os
import re
from collections.abc import Sequence

import h5py

from mmn.structures.rows_id import QID, VID, RowsId, SentenceRows, fill, video_of
from mmn.utils.errors import listed

SHOWN_IDS = 5  # of a file that lacks what is asked for


def lookalikes(file: h5py.File, feature_key: str, rows_id: RowsId) -> str:
    """The end of a sentence about rows that a feature file lacks: what it holds that could be meant.

    That is another feature key under which these rows stand, those of another sentence of the video, a name like the
    video's, or else some of the names.
    """
    names, video_id = list(file), video_of(rows_id)
    of_others = re.compile(re.escape(fill(feature_key, video_id)).replace(re.escape(QID), ".+"))
    for key in _keys_of(file, names, rows_id):
        template = as_pattern(key, rows_id)
        if of_others.fullmatch(key) and template != feature_key:
            return f"{key!r}, of another sentence, is there"
        if template != feature_key:
            return f"{key!r} is there, that is, under {template!r}"
    bare = os.path.splitext(video_id.removeprefix("v_"))[0]
    near = [name for name in (bare, os.path.splitext(video_id)[0], video_id.removeprefix("v_")) if name in file]
    if near or (near := [name for name in names if name.lower() == video_id.lower()]):
        return f"{near[0]!r} is there"
    return f"what it holds is {listed(map(repr, names), SHOWN_IDS)}" if names else "it is empty"


def _keys_of(file: h5py.File, names: Sequence[str], rows_id: RowsId) -> list[str]:
    """Keys of datasets whose names have the id of the video as a word; those first that have the sentence's too."""
    keys, is_video = [], _word(video_of(rows_id))
    for group in ("", *(f"{name}/" for name in names[:SHOWN_IDS] if _is_group(file, name))):
        for name in sorted(filter(is_video.search, file[group] if group else names), key=len):
            key = group + name
            if _is_group(file, key):
                keys += [f"{key}/{child}" for child in file[key] if not _is_group(file, f"{key}/{child}")]
            else:
                keys.append(key)
    return sorted(keys, key=lambda key: QID not in as_pattern(key, rows_id))


def as_pattern(key: str, rows_id: RowsId) -> str:
    """The feature key by which rows are found at `key`: {vid} and {qid} for the first words that are the ids.

    >>> as_pattern("v_walk/7", SentenceRows("walk", "7"))
    'v_{vid}/{qid}'
    """
    before, found, after = _parted(key, video_of(rows_id))
    if not found:
        return key
    if isinstance(rows_id, SentenceRows):
        first, qid, rest = _parted(after, rows_id.qid)
        after = first + QID + rest if qid else after
    return before + VID + after


def _parted(text: str, name: str) -> tuple[str, str, str]:
    match = _word(name).search(text)
    return (text[: match.start()], name, text[match.end() :]) if match else (text, "", "")


def _word(name: str) -> re.Pattern[str]:
    """Finds an id where it stands by itself: not 1 in v_10."""
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])")


def _is_group(file: h5py.File, name: str) -> bool:
    return file.get(name, getclass=True) is h5py.Group
