"""Reading annotation files (SPEC section 1)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmn.structures.annotation_forms import EXPECTED, form_of_json, form_of_text, is_json_lines
from mmn.utils.errors import DataError
from mmn.utils.text_files import parse_json, read_text

SHORTEST, LONGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)  # seconds that float32 holds


@dataclass(frozen=True)
class VideoAnnotation:
    """One video of a split.

    Attributes:
        video_id: its name in the annotation and feature files.
        duration: seconds.
        sentences: S texts.
        moments: [S, 2] float32 seconds; starts at least 0, ends at most the duration.
    """

    video_id: str
    duration: float
    sentences: list[str]
    moments: np.ndarray


def read_annotations(path: str, time_unit: str = "seconds") -> list[VideoAnnotation]:
    """The videos of an annotation json file, in file order; those without a sentence left are dropped.

    A sentence is kept only where start < end in the file's own unit; then both are clamped into the video.

    Args:
        time_unit: "seconds" (entries have `duration`) or "frames" (`fps` and `num_frames`; times are frames).
    Raises:
        DataError: the file, or one of its entries, is not what SPEC section 1 describes.
    """
    videos = [parse_video(path, *item, time_unit) for item in read_annotation_json(path).items()]
    videos = [video for video in videos if video.sentences]
    if not videos:
        raise DataError(
            f"the annotation file {path} holds no sentence with start < end: check that it is the right one"
        )
    return videos


def read_annotation_json(path: str) -> dict[str, dict]:
    """The raw `{video_id: entry}`; raises DataError where the file is not a json object of objects, or ids repeat."""
    content = read_json_object(path)
    for video_id, entry in content.items():
        if not isinstance(entry, dict):
            raise DataError(f"video {video_id} of {path} must be an object, its fields by their names")
    return content


def read_json_object(path: str) -> dict[str, object]:
    """Entries of any kind from an annotation file."""
    try:
        text = read_text(path)
        form = "JSON lines, one object per line" if is_json_lines(text) else form_of_text(text)
        if form is not None:
            raise DataError(f"the annotation file {path} is {form}: {EXPECTED}")
        content = parse_json(text)
    except OSError as error:
        raise DataError(
            f"the annotation file {path} cannot be read ({error.strerror}): see dataset/README.md for the expected tree"
        ) from error
    except ValueError as error:  # no json, no UTF-8, nested beyond all use, or a key twice
        raise DataError(
            f"the annotation file {path} is not valid json: {error}; correct it, or fetch it again"
        ) from error
    if (form := form_of_json(content)) is not None:
        raise DataError(f"the annotation file {path} is {form}: {EXPECTED}")
    if not isinstance(content, dict) or not content:
        kind = "an empty object" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DataError(f"the annotation file {path} holds {kind}: it must map video ids to entries")
    return content


def parse_video(path: str, video_id: str, entry: dict, time_unit: str) -> VideoAnnotation:
    """One entry of the annotation file `path`; raises DataError naming what is wrong with it."""
    where = f"video {video_id} of {path}"
    duration, unit = _duration_and_unit(where, entry, time_unit)
    sentences, timestamps = _field(where, entry, "sentences"), _field(where, entry, "timestamps")
    if not isinstance(sentences, list) or not isinstance(timestamps, list) or len(sentences) != len(timestamps):
        raise DataError(f"{where} must have lists of equal length as timestamps and sentences: correct the entry")
    kept = []
    for number, (sentence, times) in enumerate(zip(sentences, timestamps, strict=True)):
        if not isinstance(times, list) or len(times) != 2 or not all(is_number(time) for time in times):
            raise DataError(
                f"{where} has {times!r} as timestamp {number}: it must be two finite numbers, start and end"
            )
        if not isinstance(sentence, str) or not sentence.strip() or not is_unicode(sentence):
            raise DataError(f"{where} has {sentence!r} as sentence {number}: it must be a text that is not empty")
        if times[0] < times[1]:
            kept.append((sentence, max(times[0] / unit, 0), min(times[1] / unit, duration)))
    moments = np.array([moment for _, *moment in kept], dtype=np.float32).reshape(-1, 2)
    return VideoAnnotation(video_id, duration, [sentence for sentence, *_ in kept], moments)


def _duration_and_unit(where: str, entry: dict, time_unit: str) -> tuple[float, float]:
    """Duration in seconds, and how many units of the file's timestamps make a second."""
    keys = ["num_frames", "fps"] if time_unit == "frames" else ["duration"]
    for key in keys:
        value = _field(where, entry, key)
        if not is_number(value) or value <= 0:
            raise DataError(f"{where} has {key} {value!r}: it must be a finite number above 0")
    duration, unit = (
        (entry["num_frames"] / entry["fps"], entry["fps"]) if time_unit == "frames" else (entry[keys[0]], 1)
    )
    if not SHORTEST <= duration <= LONGEST:
        raise DataError(f"{where} has a duration of {duration} seconds: correct {' and '.join(keys)}")
    return duration, unit


def _field(where: str, entry: dict, key: str) -> object:
    if key not in entry:
        raise DataError(f"{where} has no {key!r}: add it, or check the catalog entry's time_unit")
    return entry[key]


def is_number(value: object) -> bool:
    """Tell whether it is a number that a float can hold."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max


def is_unicode(text: str) -> bool:
    """False for lone surrogates, which json can spell but no tokenizer reads."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def count_sentences(videos: Sequence[VideoAnnotation]) -> int:
    """The sentences of all videos."""
    return sum(len(video.sentences) for video in videos)


def iterate_sentences(videos: list[VideoAnnotation]) -> Iterator[tuple[VideoAnnotation, int]]:
    """(video, number of the sentence in it), in annotation order."""
    for video in videos:
        for number in range(len(video.sentences)):
            yield video, number
