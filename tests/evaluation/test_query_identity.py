"""Pairing the lines of two files by the query that they are about."""

from dataclasses import dataclass

import pytest

from mmn.evaluation.query_identity import by_identity, pair_queries
from mmn.utils.errors import DataError


@dataclass
class Line:
    qid: int | str | None
    query: str = ""
    video_id: str = ""


def pairs(lines, others, **options):
    return [(line and line.qid, other.qid) for line, other in pair_queries(lines, "P", others, "T", **options)]


def test_lines_are_paired_by_qid_in_the_order_of_the_truth():
    assert pairs([Line("7"), Line(3)], [Line(3), Line(7)]) == [(3, 3), ("7", 7)]


def test_without_qids_on_a_side_lines_are_paired_by_video_and_sentence():
    lines = [Line(1, "a", "v"), Line(2, "b", "v"), Line(3, "a", "w")]
    others = [Line(None, "a ", "w"), Line(None, "b", "v"), Line(None, "a", "v")]
    assert pairs(lines, others) == [(3, None), (2, None), (1, None)]
    assert [line.query for line, _ in pair_queries(others, "P", lines, "T")] == ["a", "b", "a "]


@pytest.mark.parametrize(
    "lines, named",
    [
        ([Line(1), Line("1"), Line(2)], r"P has 1 queries more than once \(qid 1\)"),
        ([Line(1), Line(2), Line(9)], r"1 of the 3 queries of P are not in T \(qid 9\)"),
        ([Line(1)], r"P lacks 1 of the 2 queries of T \(qid 2\).*--missing-as-wrong"),
        ([Line(1), Line(None, "b", "v")], "P has a qid in 1 of its 2 lines, the first without one is number 2"),
        ([Line(1, "a", "v"), Line(2, "another", "v")], "qid 2 has the query 'another' in P but 'b' in T"),
        ([Line(1, "a", "w"), Line(2, "b", "v")], "qid 1 has the video 'w' in P but 'v' in T"),
        ([Line(None, "a"), Line(None, "b", "v")], "line 1 of P has no qid, and not both of vid and query"),
        ([Line(None, "a", "v"), Line(None, "a", "v")], r"P has 1 queries more than once \('a' of v\)"),
    ],
)
def test_what_is_not_about_the_same_queries_is_refused_by_name(lines, named):
    with pytest.raises(DataError, match=named):
        pairs(lines, [Line(1, "a", "v"), Line(2, "b", "v")])


def test_a_query_twice_in_the_truth_is_refused_too():
    with pytest.raises(DataError, match="T has 1 queries more than once"):
        pairs([Line(1)], [Line(1), Line(1)])


def test_missing_queries_are_none_where_that_is_allowed():
    assert pairs([Line(2)], [Line(1), Line(2)], allow_missing=True) == [(None, 1), (2, 2)]


def test_at_most_ten_names_are_listed():
    with pytest.raises(DataError, match=r"11 queries more than once \(qid 0, .*qid 9, \.\.\.\)"):
        by_identity([Line(number % 11) for number in range(22)], "P")
