"""Annotation files of every form, as the sentences that they hold (SPEC sections 1 and 11).

A form is a record in READERS: how a file is taken apart into parts, and a part into sentences. Parts are looked at one by
one, so that a check names every part that is wrong and not the first alone.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from mmn.structures.annotation_forms import (
    CHARADES,
    CHARADES_LINE,
    FORMS,
    JSON,
    JSON_LINES,
    MAD,
    ONE_LINE,
    form_of_json,
    form_of_text,
)
from mmn.structures.query_lines import TRUE_WINDOWS, parse_query_line, read_windows
from mmn.utils.errors import DataError, failed_read
from mmn.utils.text_files import is_number, is_unicode, numbered_lines, parse_json, read_text

DURATION_KEYS = ("duration", "video_duration")  # the second in Charades-CD and ActivityNet-CD
SAME_DURATION = 1.0  # seconds by which two lines may differ on their video's duration: some are rounded


@dataclass(frozen=True)
class SentenceEntry:
    """A sentence as its file has it.

    Attributes:
        where: place in the file, for messages.
        windows: start and end of each moment it describes, in the file's unit; None where they are not known.
        duration: seconds, of its video; None where the file does not say.
        rate: units of the windows' times in a second.
        qid: None where the file has none.
    """

    where: str
    video_id: str
    text: str
    windows: list[list[float]] | None
    duration: float | None = None
    rate: float = 1
    qid: int | str | None = None


class Part(NamedTuple):
    """A part of a file that can be wrong by itself: where it stands, and what stands there."""

    where: str
    content: Any


class Reader(NamedTuple):
    """Reading of one form.

    Attributes:
        parts: path and text of a file -> its parts.
        sentences: a part and the catalog entry's time_unit -> its sentences. Raises DataError naming what is wrong.
    """

    parts: Callable[[str, str], list[Part]]
    sentences: Callable[[Part, str], list[SentenceEntry]]


def read_sentences(path: str, form: str = "", time_unit: str = "seconds") -> Iterator[list[SentenceEntry] | DataError]:
    """The sentences of each part of an annotation file, in file order; for a part that is wrong, the error.

    Args:
        form: a key of FORMS; "" finds it out.
        time_unit: "seconds", or "frames" for entries with `fps` and `num_frames`.
    Raises DataError where the file as a whole cannot be used.
    """
    text = read_annotation_text(path)
    form = form or find_form(path, text)
    if time_unit != "seconds" and form != JSON:
        raise DataError(f"the annotation file {path} is {FORMS[form]}, whose times are seconds: leave out time_unit")
    reader = READERS[form]
    for part in reader.parts(path, text):
        try:
            yield reader.sentences(part, time_unit)
        except DataError as error:
            yield error


def read_annotation_text(path: str) -> str:
    """The text of an annotation file. Raises DataError where it cannot be read or is empty."""
    try:
        text = read_text(path)
    except OSError as error:
        raise DataError(
            f"the annotation file {path} cannot be read ({failed_read(error)}): see dataset/README.md for the expected tree"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"the annotation file {path} is no UTF-8 text: save it as UTF-8, or fetch it again") from error
    if not text.strip():
        raise DataError(f"the annotation file {path} is an empty file: fetch it again")
    return text


def find_form(path: str, text: str) -> str:
    """The key in FORMS of a file. Raises DataError naming the form of a known one that is not read."""
    found, _ = _form_and_content(path, text)
    if found is None:
        return JSON
    form = next((key for key, name in FORMS.items() if name == found), JSON_LINES if found == ONE_LINE else None)
    if form is None:
        raise DataError(
            f"the annotation file {path} is {found}: {FORMS[JSON]} is expected, or another form of dataset/README.md"
        )
    return form


def _form_and_content(path: str, text: str) -> tuple[str | None, Any]:
    """The form of a file where it is a known one beside JSON, and its value where it is one json value."""
    if found := form_of_text(text):
        return found, None
    content = _parse(path, text)
    return form_of_json(content), content


def _parse(path: str, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:  # no json, nested beyond all use, or a key twice
        raise DataError(
            f"the annotation file {path} is not valid json: {error}; correct it, or fetch it again"
        ) from error


def _checked_text(where: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not is_unicode(value):
        raise DataError(f"{where} has {value!r} as {key}: it must be a text that is not empty")
    return value


def _above_zero(where: str, key: str, value: object) -> float:
    if not is_number(value) or value <= 0:  # type: ignore[operator]
        raise DataError(f"{where} has {key} {value!r}: it must be a finite number above 0")
    return value  # type: ignore[return-value]


def _field(where: str, entry: dict, key: str) -> Any:
    if key not in entry:
        raise DataError(f"{where} has no {key!r}: add it, or check the catalog entry's time_unit")
    return entry[key]


# ---- {video id: {duration, timestamps, sentences}} -------------------------------------------------------------------


def read_annotation_json(path: str) -> dict[str, dict]:
    """The raw `{video_id: entry}`; raises DataError where the file is not a json object of objects, or ids repeat."""
    content = read_json_object(path)
    for video_id, entry in content.items():
        if not isinstance(entry, dict):
            raise DataError(f"video {video_id} of {path} must be an object, its fields by their names")
    return content  # type: ignore[return-value]


def read_json_object(path: str) -> dict[str, object]:
    """Entries of any kind from an annotation file."""
    found, content = _form_and_content(path, read_annotation_text(path))
    if found is None:
        return _checked_object(path, content)
    raise DataError(f"the annotation file {path} is {found}: {FORMS[JSON]} is expected, see dataset/README.md")


def _checked_object(path: str, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not content:
        kind = "an empty object" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DataError(f"the annotation file {path} holds {kind}: it must map video ids to entries")
    return content


def _json_parts(path: str, text: str) -> list[Part]:
    content = _checked_object(path, _parse(path, text))
    return [Part(f"video {video_id} of {path}", (video_id, entry)) for video_id, entry in content.items()]


def _json_sentences(part: Part, time_unit: str) -> list[SentenceEntry]:
    where, (video_id, entry) = part
    if not isinstance(entry, dict):
        raise DataError(f"{where} must be an object, its fields by their names")
    if time_unit == "frames":
        num_frames, fps = (_above_zero(where, key, _field(where, entry, key)) for key in ("num_frames", "fps"))
        duration, rate = num_frames / fps, fps
    else:
        key = next((key for key in DURATION_KEYS if key in entry), DURATION_KEYS[0])
        duration, rate = _above_zero(where, key, _field(where, entry, key)), 1
    texts, windows = _field(where, entry, "sentences"), _field(where, entry, "timestamps")
    if not isinstance(texts, list) or not isinstance(windows, list) or len(texts) != len(windows):
        raise DataError(f"{where} must have lists of equal length as timestamps and sentences: correct the entry")
    sentences = []
    for number, (text, window) in enumerate(zip(texts, windows, strict=True)):
        _checked_window(where, f"timestamp {number}", window)
        text = _checked_text(where, f"sentence {number}", text)
        sentences.append(SentenceEntry(where, video_id, text, [window], duration, rate))
    return sentences


def _checked_window(where: str, name: str, window: object) -> None:
    if not isinstance(window, list) or len(window) != 2 or not all(map(is_number, window)):
        raise DataError(f"{where} has {window!r} as {name}: it must be two finite numbers, start and end")


# ---- JSON lines, one sentence each -----------------------------------------------------------------------------------


def _line_parts(path: str, text: str) -> list[Part]:
    return [Part(f"line {number} of {path}", line) for number, line in numbered_lines(text)]


def _json_line_sentences(part: Part, time_unit: str) -> list[SentenceEntry]:
    where, text = part
    line = parse_query_line(where, text)
    query, video_id = (_checked_text(where, f"its {key!r}", line.record.get(key)) for key in ("query", "vid"))
    windows = None  # of a blind test set
    if TRUE_WINDOWS in line.record:
        windows = read_windows(line, TRUE_WINDOWS, "[start, end]", 2)
    duration = line.record.get("duration")
    if duration is not None:
        duration = _above_zero(where, "duration", duration)
    return [SentenceEntry(where, video_id, query, windows, duration, qid=line.qid)]


# ---- vid start end##sentence -----------------------------------------------------------------------------------------


def _charades_sentences(part: Part, time_unit: str) -> list[SentenceEntry]:
    where, text = part
    match = CHARADES_LINE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        window = [float(match[2]), float(match[3])]
    except ValueError as error:
        raise DataError(f"{where} is {text[:60]!r}: it must be `vid start end##sentence`, times in seconds") from error
    _checked_window(where, "its times", window)
    return [SentenceEntry(where, match[1], _checked_text(where, "its sentence", match[4]), [window])]


# ---- {id: {movie, movie_duration, ext_timestamps, sentence}} ---------------------------------------------------------


def _mad_parts(path: str, text: str) -> list[Part]:
    content = _checked_object(path, _parse(path, text))
    return [Part(f"query {qid} of {path}", (qid, entry)) for qid, entry in content.items()]


def _mad_sentences(part: Part, time_unit: str) -> list[SentenceEntry]:
    where, (qid, entry) = part
    if not isinstance(entry, dict):
        raise DataError(f"{where} must be an object, its fields by their names")
    movie, sentence = (_checked_text(where, f"its {key!r}", entry.get(key)) for key in ("movie", "sentence"))
    duration = _above_zero(where, "movie_duration", _field(where, entry, "movie_duration"))
    window = _field(where, entry, "ext_timestamps")
    _checked_window(where, "its ext_timestamps", window)
    return [SentenceEntry(where, movie, sentence, [window], duration, qid=qid)]


READERS = {
    JSON: Reader(_json_parts, _json_sentences),
    JSON_LINES: Reader(_line_parts, _json_line_sentences),
    CHARADES: Reader(_line_parts, _charades_sentences),
    MAD: Reader(_mad_parts, _mad_sentences),
}


# ---- Durations from elsewhere ----------------------------------------------------------------------------------------


def read_durations(path: str) -> dict[str, float]:
    """Seconds of each video, in the order in which a file first names them.

    The file is a csv table with columns id and length, as Charades has it, a json object `{video id: seconds}`, or an
    annotation file of any form that says how long its videos are, by a duration or by num_frames and fps.
    Raises DataError naming what is wrong, such as two lengths of one video that differ by more than SAME_DURATION.
    """
    text = read_annotation_text(path)
    durations: dict[str, float] = {}
    for where, video_id, seconds in _stated_durations(path, text):
        if abs(durations.setdefault(video_id, seconds) - seconds) > SAME_DURATION:
            raise DataError(
                f"{where} says that video {video_id} lasts {seconds} s, an earlier one {durations[video_id]} s: correct "
                "one of them"
            )
    return durations


def _stated_durations(path: str, text: str) -> Iterator[tuple[str, str, float]]:
    """(place, video, seconds) wherever the file says it."""
    if path.lower().endswith(".csv"):
        yield from _table_durations(path, text)
    elif find_form(path, text) == JSON:
        for where, (video_id, entry) in _json_parts(path, text):
            yield where, video_id, _entry_seconds(where, entry)
    else:
        for part in read_sentences(path):
            if isinstance(part, DataError):
                raise part
            for sentence in part:
                if sentence.duration is None:
                    raise DataError(f"{sentence.where} says no duration: name a file that says how long videos are")
                yield sentence.where, sentence.video_id, sentence.duration


def _entry_seconds(where: str, entry: object) -> float:
    """Seconds of a video by its value in a json object: a number, or an entry of an annotation file."""
    if not isinstance(entry, dict):
        return _above_zero(where, "duration", entry)
    key = next((key for key in DURATION_KEYS if key in entry), None)
    if key is not None:
        return _above_zero(where, key, entry[key])
    if not {"num_frames", "fps"} <= entry.keys():
        raise DataError(f"{where} does not say how long it is: it needs duration, or num_frames and fps")
    return _above_zero(where, "num_frames", entry["num_frames"]) / _above_zero(where, "fps", entry["fps"])


def _table_durations(path: str, text: str) -> Iterator[tuple[str, str, float]]:
    table = csv.DictReader(io.StringIO(text))
    columns = table.fieldnames or []
    name = next((key for key in ("id", "vid", "video_id") if key in columns), None)
    seconds = next((key for key in ("length", "duration") if key in columns), None)
    if name is None or seconds is None:
        raise DataError(f"{path} has the columns {', '.join(columns)}: videos are told by id, seconds by length")
    for row in table:
        where = f"line {table.line_num} of {path}"
        try:
            value = float(row[seconds])
        except (TypeError, ValueError) as error:
            raise DataError(f"{where} has {row[seconds]!r} as {seconds}: it must be seconds") from error
        yield where, _checked_text(where, name, row[name]), _above_zero(where, seconds, value)
