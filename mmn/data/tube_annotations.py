"""Reading and writing tubes: annotations and predictions as json, candidate tubes as HDF5 tables (docs/STVG.md)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import h5py
import numpy as np
import torch

from mmn.data.annotation_files import read_annotation_json
from mmn.data.features import FeatureFile
from mmn.structures.tubes import Tubes
from mmn.utils.errors import DataError
from mmn.utils.files import atomic_path
from mmn.utils.text_files import is_number, is_unicode

COLUMNS = ("tube", "frame", "x1", "y1", "x2", "y2")  # of a table of candidate tubes
TRUTH_KEYS = ("st_frame", "ed_frame", "bbox")
LAST_FRAME = 2**24  # from there on float32, in which the tables hold frames, cannot tell neighbours apart
LARGEST = 1e6  # pixels; a box beyond is a mistake


@dataclass(frozen=True)
class TubeAnnotation:
    """One video of a split.

    Attributes:
        video_id: its name in the annotation and feature files.
        sentence: description of the person who is to be found.
        truth: their tube, of the frames in which they do it; None where it is not known, as for a challenge's test set.
    """

    video_id: str
    sentence: str
    truth: Tubes | None


def read_tube_annotations(path: str) -> list[TubeAnnotation]:
    """The videos of an annotation json file, in file order. Raises DataError naming a video that is wrong."""
    content = read_annotation_json(path)
    return [parse_annotation(f"video {video_id} of {path}", video_id, entry) for video_id, entry in content.items()]


def parse_annotation(where: str, video_id: str, entry: dict) -> TubeAnnotation:
    """One entry: `{"sentence": text}`, and all or none of the keys of a tube (`parse_tube`)."""
    sentence = entry.get("sentence")
    if not isinstance(sentence, str) or not sentence.strip() or not is_unicode(sentence):
        raise DataError(f"{where} has {sentence!r} as its 'sentence': it must be a text that is not empty")
    has_truth = any(key in entry for key in TRUTH_KEYS)
    return TubeAnnotation(video_id, sentence, parse_tube(where, entry) if has_truth else None)


def parse_tube(where: str, entry: dict) -> Tubes:
    """The tube of an annotation or a prediction, `{"st_frame": a, "ed_frame": b, "bbox": {"a": [x1, y1, x2, y2], ...}}`.

    Frames a .. b, both included, each with its box in pixels. Raises DataError naming what is wrong.
    """
    missing = [key for key in TRUTH_KEYS if key not in entry]
    if missing:
        raise DataError(f"{where} has no {missing[0]!r}: a tube has {', '.join(TRUTH_KEYS)}")
    first, last, boxes = (entry[key] for key in TRUTH_KEYS)
    if type(first) is not int or type(last) is not int or not 0 <= first <= last < LAST_FRAME:
        raise DataError(f"{where} has frames {first!r} to {last!r}: they must be whole numbers, 0 <= first <= last")
    frames = range(first, last + 1)
    if not isinstance(boxes, dict) or len(boxes) != len(frames) or not all(str(frame) in boxes for frame in frames):
        raise DataError(f"{where} must have one box in 'bbox' for every frame from {first} to {last}, and no others")
    table = []
    for frame in frames:
        box = boxes[str(frame)]
        if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
            raise DataError(f"{where} has the box {box!r} in frame {frame}: it must be four numbers, x1, y1, x2, y2")
        table.append([0, frame, *box])
    return parse_table(where, np.array(table, dtype=np.float64))


def parse_table(where: str, table: np.ndarray) -> Tubes:
    """Rows [R, 6] of COLUMNS -> tubes. Raises DataError where they do not follow each other as they should.

    Tubes are numbered from 0 without a gap, each of consecutive frames; x1 <= x2 and y1 <= y2.
    """
    numbers, frames, boxes = table[:, 0], table[:, 1], table[:, 2:]
    begins = np.diff(numbers, prepend=-1.0)
    if not np.isin(begins, (0, 1)).all() or numbers[0] != 0:
        raise DataError(f"{where} must number its tubes 0, 1, 2, ... in the rows' order: convert the data again")
    continues = begins[1:] == 0
    is_broken = frames != np.rint(frames)
    is_broken[1:] |= (np.diff(frames) != 1) & continues
    if is_broken.any():
        row = int(np.flatnonzero(is_broken)[0])
        raise DataError(
            f"{where} has a tube whose frames do not follow each other, at row {row}: convert the data again"
        )
    if frames.min() < 0 or frames.max() >= LAST_FRAME:
        raise DataError(f"{where} has a frame below 0 or above {LAST_FRAME}: correct it")
    # Said so that what is not a number is refused too.
    is_good = (boxes[:, :2] <= boxes[:, 2:]).all(axis=1) & (np.abs(boxes) <= LARGEST).all(axis=1)
    if not is_good.all():
        row = int(np.flatnonzero(~is_good)[0])
        raise DataError(
            f"{where} has the box {boxes[row].tolist()} in frame {frames[row]:g}: it must be pixels, x1 <= x2 and y1 <= y2"
        )
    first_rows = np.flatnonzero(begins)
    return Tubes(
        torch.from_numpy(frames[first_rows].astype(np.int64)),
        torch.from_numpy(np.diff(first_rows, append=len(table))),
        torch.from_numpy(boxes.astype(np.float32)),
    )


class TubeFile(FeatureFile):
    """The HDF5 file with the candidate tubes of every video, float32 [R, 6] with the columns of COLUMNS."""

    kind = "the tube file"
    missing = "make it by `mmn convert-stvg`, see docs/STVG.md"

    def __init__(self, path: str, feature_key: str):
        super().__init__(path, feature_key, len(COLUMNS))

    def checked(self, rows: np.ndarray, where: str) -> np.ndarray:
        if np.ndim(rows) == 2 and len(rows) and rows.shape[1] != len(COLUMNS):
            raise DataError(
                f"{where} has shape {list(rows.shape)}, but a table of tubes has rows of {len(COLUMNS)}: convert "
                "the data again by `mmn convert-stvg`"
            )
        return super().checked(rows, where)

    def read_tubes(self, video_id: str) -> Tubes:
        """All tubes of a video. Raises DataError where they cannot be read or are no tubes."""
        return parse_table(f"video {video_id} of the tube file {self.path}", self.read(video_id))


def tube_table(tubes: Tubes) -> np.ndarray:
    """The inverse of `parse_table`: [R, 6] float32."""
    number = torch.arange(len(tubes.lengths)).repeat_interleave(tubes.lengths)
    frame = torch.cat(
        [first + torch.arange(length) for first, length in zip(tubes.first_frames, tubes.lengths, strict=True)]
    )
    return torch.cat([torch.stack([number, frame], dim=1).float(), tubes.boxes], dim=1).numpy()


def tube_entry(tube: Tubes) -> dict:
    """The inverse of `parse_tube`, for n = 1."""
    first = int(tube.first_frames)
    boxes = {str(first + row): box for row, box in enumerate(tube.boxes.tolist())}
    return {"st_frame": first, "ed_frame": first + len(boxes) - 1, "bbox": boxes}


def annotation_entry(annotation: TubeAnnotation) -> dict:
    """The inverse of `parse_annotation`."""
    return {"sentence": annotation.sentence, **(tube_entry(annotation.truth) if annotation.truth else {})}


def write_entries(path: str, entries: Mapping[str, dict]) -> None:
    """Annotations or predictions, `{video: entry}`, as a json file."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(entries, file, ensure_ascii=False)


def write_tables(path: str, tables: Iterable[tuple[str, np.ndarray]]) -> None:
    """(video, rows float32 [R, D]) pairs as an HDF5 file: candidate tubes, or a feature track."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for video_id, rows in tables:
            file[video_id] = rows
