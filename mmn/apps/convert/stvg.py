"""Conversion of the files that users of HC-STVG have to the layout that is read here (docs/STVG.md).

They have the challenge's annotation json, per video a pickle of candidate tubes, and per feature track a pickle of all
videos (SPEC section 8).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmn.apps.convert.array_pickle import load_array_pickle
from mmn.data.annotation_files import read_json_object
from mmn.data.tube_annotations import (
    TubeAnnotation,
    annotation_entry,
    parse_annotation,
    parse_table,
    write_entries,
    write_tables,
)
from mmn.utils.errors import ConfigError, DataError
from mmn.utils.paths import expand_user
from mmn.utils.text_files import is_number

TUBES_SUFFIX = "_tubes.pkl"
Tables = dict[str, np.ndarray]  # video -> rows of candidate tubes, see `parse_table`


def convert_split(
    annotations: str,
    tube_folder: str,
    tracks: Mapping[str, str],
    out: str,
    split: str,
    skips_without_tubes: bool = False,
) -> None:
    """Write `<split>.json`, `<split>_tubes.hdf5` and `<split>_<track>.hdf5` into the folder `out`.

    Args:
        annotations: the challenge's json file, with the truth or without.
        tube_folder: holds `<video>_tubes.pkl` of every video.
        tracks: name of a feature track -> its pickle.
        skips_without_tubes: leave out videos without a candidate tube, and say so, where they are an error otherwise.
    Raises:
        DataError: naming the file and the video that is not as it should be. What is already written stays.
    """
    videos = read_challenge_annotations(annotations)
    tables = read_tubes(tube_folder, list(videos), skips_without_tubes)
    left_out = [video_id for video_id in videos if video_id not in tables]
    if left_out:
        print(f"{len(left_out)} videos have no candidate tube and are left out: {', '.join(left_out)}")
    stored = ((video_id, table.astype(np.float32)) for video_id, table in tables.items())
    write_tables(os.path.join(out, f"{split}_tubes.hdf5"), stored)
    for name, path in tracks.items():
        write_tables(os.path.join(out, f"{split}_{name}.hdf5"), read_track(path, tables))
    kept = {video_id: annotation_entry(videos[video_id]) for video_id in tables}
    write_entries(os.path.join(out, f"{split}.json"), kept)


def parse_tracks(texts: Sequence[str]) -> dict[str, str]:
    """NAME=FILE texts -> {name of a feature track: its pickle}. Raises ConfigError for a name that is no file's of its own.

    >>> parse_tracks(["csn=csn_train.pkl"])
    {'csn': 'csn_train.pkl'}
    """
    tracks: dict[str, str] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not name or not path or "/" in name:
            raise ConfigError(f"--features {text} must be NAME=FILE, e.g. csn=csn_train.pkl")
        if name in tracks or name == "tubes":
            taken = "given twice" if name in tracks else "the name of the tubes' own file"
            raise ConfigError(f"--features {text}: {name} is {taken}, call the track something else")
        tracks[name] = expand_user(path)
    return tracks


# ---- Annotations -----------------------------------------------------------------------------------------------------


def read_challenge_annotations(path: str) -> dict[str, TubeAnnotation]:
    """`{video: {"English", "st_frame", "ed_frame", "bbox": [[x, y, w, h], ...]}}`, for a test set `{video: sentence}`."""
    return {
        video_id: _challenge_entry(f"video {video_id} of {path}", video_id, entry)
        for video_id, entry in read_json_object(path).items()
    }


def _challenge_entry(where: str, video_id: str, entry: object) -> TubeAnnotation:
    if isinstance(entry, str):
        return parse_annotation(where, video_id, {"sentence": entry})
    if not isinstance(entry, dict) or "English" not in entry:
        raise DataError(f"{where} must be a sentence, or an object with 'English', 'st_frame', 'ed_frame' and 'bbox'")
    ours = {"sentence": entry["English"], **{key: entry[key] for key in ("st_frame", "ed_frame") if key in entry}}
    if "bbox" in entry:
        ours["bbox"] = _corner_boxes(where, entry["bbox"], entry.get("st_frame"))
    return parse_annotation(where, video_id, ours)


def _corner_boxes(where: str, boxes: object, first_frame: object) -> dict[str, list[float]]:
    """[x, y, w, h] of consecutive frames -> {frame: [x1, y1, x2, y2]}."""
    if not isinstance(boxes, list) or type(first_frame) is not int:
        raise DataError(f"{where} must have a list 'bbox' of boxes [x, y, w, h], from frame 'st_frame' on")
    corners = {}
    for frame, box in enumerate(boxes, start=first_frame):
        if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
            raise DataError(f"{where} has the box {box!r} for frame {frame}: it must be four numbers, x, y, w, h")
        x, y, width, height = box
        corners[str(frame)] = [x, y, x + width, y + height]
    return corners


# ---- Tubes -----------------------------------------------------------------------------------------------------------


def read_tubes(folder: str, video_ids: Sequence[str], skips_without_tubes: bool) -> Tables:
    """The candidate tubes of every video from `<video>_tubes.pkl`; the detector's scores are left behind."""
    tables = {}
    for video_id in tqdm(video_ids, desc="tubes"):
        path = _tube_path(folder, video_id)
        table = _tube_table(f"the pickle {path}", load_array_pickle(path))
        if len(table):
            parse_table(f"the pickle {path}", table)  # refuses what is no tube
            tables[video_id] = table
        elif not skips_without_tubes:
            raise DataError(f"the pickle {path} has no tube: leave out such videos by --skip-without-tubes")
    return tables


def _tube_path(folder: str, video_id: str) -> str:
    """`<video>_tubes.pkl`, where `<video>` is the name in the annotations with its extension or without."""
    paths = [os.path.join(folder, name + TUBES_SUFFIX) for name in (video_id, Path(video_id).stem)]
    for path in paths:
        if os.path.isfile(path):
            return path
    raise DataError(f"video {video_id} has no tubes: there is neither {paths[0]} nor {paths[1]}, so check --tubes")


def _tube_table(where: str, content: object) -> np.ndarray:
    """`{0: [[array [L, 6], score], ...]}` with rows frame, x1, y1, x2, y2, score -> rows tube, frame, x1, y1, x2, y2."""
    tubes = content.get(0) if isinstance(content, dict) else None
    if not isinstance(tubes, list):
        raise DataError(f"{where} must be {{0: [[array, score], ...]}}: check that it is a file of tubes")
    tables = []
    for number, tube in enumerate(tubes):
        rows = _numbers(tube[0]) if isinstance(tube, (list, tuple)) and len(tube) == 2 else None
        if rows is None or rows.ndim != 2 or rows.shape[1] != 6 or not len(rows):
            raise DataError(f"{where} has a tube {number} that is no [array [rows, 6], score]: check the file")
        tables.append(np.insert(rows[:, :5], 0, number, axis=1))
    return np.concatenate(tables) if tables else np.zeros((0, 6))


# ---- Features --------------------------------------------------------------------------------------------------------


def read_track(path: str, tables: Tables) -> Iterator[tuple[str, np.ndarray]]:
    """(video, its feature rows [R, D] float32) of one track, in the order and for the rows of `tables`.

    The pickle is `{video: [per tube: [per row: array [1 + D], first entry the frame]]}`.
    """
    content = load_array_pickle(path)
    if not isinstance(content, dict):
        raise DataError(f"the pickle {path} holds a {type(content).__name__}: features must be {{video: [tube, ...]}}")
    for video_id, table in tqdm(tables.items(), desc=Path(path).stem):
        name = video_id if video_id in content else Path(video_id).stem
        if name not in content:
            raise DataError(
                f"the pickle {path} has no video {video_id}: it lacks features, or belongs to another split"
            )
        yield video_id, _track_rows(f"video {name} of the pickle {path}", content.pop(name), table)


def _track_rows(where: str, tubes: object, table: np.ndarray) -> np.ndarray:
    """Feature rows [R, D] of the rows of a table of tubes; raises DataError where they are not its tubes and frames."""
    num_tubes = int(table[-1, 0]) + 1
    if not isinstance(tubes, (list, tuple)) or len(tubes) != num_tubes:
        found = f"{len(tubes)} tubes" if isinstance(tubes, (list, tuple)) else f"a {type(tubes).__name__}"
        raise DataError(f"{where} has {found}, but its tube file has {num_tubes} tubes: they do not belong together")
    parts = []
    for number, rows in enumerate(tubes):
        frames = table[table[:, 0] == number, 1]
        parts.append(_tube_rows(f"tube {number} of {where}", rows, frames))
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        raise DataError(f"{where} has features of {sorted(widths)} numbers: every row must have as many")
    return np.concatenate(parts).astype(np.float32)


def _tube_rows(where: str, rows: object, frames: np.ndarray) -> np.ndarray:
    stacked = _numbers(rows)
    if stacked is None or stacked.ndim != 2 or len(stacked) != len(frames) or stacked.shape[1] < 2:
        raise DataError(
            f"{where} must hold a row for each of the tube's {len(frames)} frames, the frame and then the features, all of "
            "equal length: check the file"
        )
    if not (stacked[:, 0] == frames).all():
        row = int(np.flatnonzero(stacked[:, 0] != frames)[0])
        raise DataError(
            f"{where} has frame {stacked[row, 0]:g} in row {row}, but the tube has frame {frames[row]:g} there: they do "
            "not belong together"
        )
    if not np.isfinite(stacked).all():
        raise DataError(f"{where} holds values that are not finite numbers: extract its features again")
    return stacked[:, 1:]


def _numbers(value: object) -> np.ndarray | None:
    """float64 of an array or a nested list; None where it is neither."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
