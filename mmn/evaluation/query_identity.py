"""Identity of the query that a line is about: lines are paired by what they say of themselves, never by their place.

A query is known by its `qid` where every line of a file has one (7 and "7" are the same, since some tools write numbers as
text), and otherwise by its video and sentence together. Where two files are paired by qid, video and sentence must agree
as well, as far as both say them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from mmn.utils.errors import DataError, listed


class HasIdentity(Protocol):
    """A line that is about a query; `query` and `video_id` are "" where it does not say."""

    @property
    def qid(self) -> int | str | None: ...

    @property
    def query(self) -> str: ...

    @property
    def video_id(self) -> str: ...


Line = TypeVar("Line", bound=HasIdentity)
Other = TypeVar("Other", bound=HasIdentity)
Key = tuple[str, ...]


def by_identity(lines: Sequence[Line], path: str, use_qid: bool | None = None) -> dict[Key, Line]:
    """The lines of a file by what identifies their query, in file order.

    Args:
        use_qid: False identifies by video and sentence even where there are qids; None decides by the file.
    Raises DataError where some lines have a qid and others none, where a line says too little, or where two lines are
    about one query.
    """
    with_qid = sum(line.qid is not None for line in lines)
    if 0 < with_qid < len(lines):
        first = next(number for number, line in enumerate(lines, start=1) if line.qid is None)
        raise DataError(
            f"{path} has a qid in {with_qid} of its {len(lines)} lines, the first without one is number {first}: give all "
            "of them one, or none"
        )
    if use_qid is None:
        use_qid = with_qid > 0
    keys = [_key(line, use_qid, f"line {number} of {path}") for number, line in enumerate(lines, start=1)]
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path} has {len(repeated)} queries more than once ({listed(map(name_of, repeated))}): leave one line of each"
        )
    return dict(zip(keys, lines, strict=True))


def _key(line: HasIdentity, use_qid: bool, where: str) -> Key:
    if use_qid:
        return (str(line.qid),)
    video_id, query = line.video_id.strip(), line.query.strip()
    if not (video_id and query):
        raise DataError(f"{where} has no qid, and not both of vid and query: give it one or the other")
    return video_id, query


def name_of(key: Key) -> str:
    """A query as error sentences name it."""
    return f"qid {key[0]}" if len(key) == 1 else f"{key[1][:60]!r} of {key[0]}"


def pair_queries(
    lines: Sequence[Line], path: str, others: Sequence[Other], other_path: str, allow_missing: bool = False
) -> list[tuple[Line | None, Other]]:
    """Each of `others` in its order with the one of `lines` that is about the same query.

    Args:
        others: lines of the file that says which queries there are, such as the truth of a split.
        allow_missing: give None for a query that `lines` lack. A line about a query that `others` lack is always refused.
    Raises DataError, naming up to ten queries, where the two are not about the same ones.
    """
    use_qid = all(line.qid is not None for line in (*lines, *others))
    own, other = by_identity(lines, path, use_qid or None), by_identity(others, other_path, use_qid or None)
    if {len(key) for key in own} != {len(key) for key in other}:  # qids on one side only
        own, other = by_identity(lines, path, use_qid=False), by_identity(others, other_path, use_qid=False)
    unknown = [name_of(key) for key in own if key not in other]
    if unknown:
        raise DataError(
            f"{len(unknown)} of the {len(own)} queries of {path} are not in {other_path} ({listed(unknown)}): give files "
            "of the same split"
        )
    missing = [name_of(key) for key in other if key not in own]
    if missing and not allow_missing:
        raise DataError(
            f"{path} lacks {len(missing)} of the {len(other)} queries of {other_path} ({listed(missing)}): predict them "
            "all, or let them count as wrong with --missing-as-wrong"
        )
    _refuse_other_texts(own, path, other, other_path)
    return [(own.get(key), line) for key, line in other.items()]


def _refuse_other_texts(own: Mapping[Key, Line], path: str, other: Mapping[Key, Other], other_path: str) -> None:
    """Raise DataError where a qid means another video or sentence in the other file."""
    for field, kind in (("video_id", "video"), ("query", "query")):
        differing = []
        for key, line in own.items():
            texts = getattr(line, field).strip(), getattr(other[key], field).strip()
            if all(texts) and texts[0] != texts[1]:
                differing.append((name_of(key), *texts))
        if differing:
            name, here, there = differing[0]
            raise DataError(
                f"{name} has the {kind} {here[:60]!r} in {path} but {there[:60]!r} in {other_path}, as have "
                f"{len(differing) - 1} others: give files of the same split"
            )
