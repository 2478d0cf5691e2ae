"""A JSON line about a query, as annotation and prediction files of QVHighlights' form have it (SPEC section 11)."""

from dataclasses import dataclass

from mmn.utils.errors import DataError
from mmn.utils.text_files import is_number, parse_json

TRUE_WINDOWS = "relevant_windows"


@dataclass(frozen=True)
class QueryLine:
    """A line of a prediction or annotation file: where it stands, its json object, and whose query it is about."""

    where: str
    record: dict
    qid: int | str | None
    query: str
    video_id: str


def parse_query_line(where: str, text: str) -> QueryLine:
    """One line. Raises DataError, naming `where`, for what is no json object or has a qid that is none."""
    try:
        record = parse_json(text)
    except ValueError as error:
        raise DataError(f"{where} is not valid json ({error}): write the file again") from error
    if not isinstance(record, dict):
        raise DataError(f"{where} must be a json object, the fields of one query by their names")
    qid = record.get("qid")
    if isinstance(qid, bool) or not isinstance(qid, (int, str, type(None))):
        raise DataError(f"{where} has the qid {qid!r}: it must be a whole number or a text")
    return QueryLine(where, record, qid, str(record.get("query") or ""), str(record.get("vid") or ""))


def read_windows(line: QueryLine, key: str, columns: str, width: int) -> list[list[float]]:
    """The windows of a line under `key`, lists of `width` finite numbers. Raises DataError naming what is wrong.

    Args:
        columns: names of these numbers, for messages.
    """
    windows = line.record.get(key)
    if windows is None and key in line.record and key == TRUE_WINDOWS:
        raise DataError(
            f"{line.where} has relevant_windows null, as datasets of highlights without moments do (TVSum, YouTube "
            "Highlights): these are not moments"
        )
    if not isinstance(windows, list):
        raise DataError(f"{line.where} has no list {key!r} of {columns}: write one")
    for window in windows:
        if width == 3 and isinstance(window, list) and len(window) == 2:
            raise DataError(
                f"{line.where} has {window!r} in {key!r} without a score: write {columns}, the score the higher the better"
            )
        if not isinstance(window, list) or len(window) != width or not all(map(is_number, window)):
            raise DataError(f"{line.where} has {window!r} in {key!r}, which must be {columns} in finite numbers")
    return windows
