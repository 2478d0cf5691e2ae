"""The search across windows, on vectors that are made up."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.find_then_ground import (
    FindThenGround,
    across_windows,
    find_then_ground,
    finder_cells,
    nearest_cells,
)
from mmn.apps.localize.scoring_rule import ScoringRule
from mmn.structures.moments import cell_moments
from mmn.structures.proposals import ProposalCells

CELLS = ProposalCells(8, [3, 2])
DIM, LENGTHS = 6, (40.0, 16.0)


@pytest.fixture
def search():
    return FindThenGround(across_windows(ScoringRule(*rule_arguments())), CELLS)


def rule_arguments():
    values = {"score": "product", "match": "cosine", "contrastive_power": 0.5, "nms_threshold": 0.5}
    return [values[name] for name in ScoringRule.__dataclass_fields__]


@pytest.fixture
def video():
    """Of 200 s in 9 and 24 windows; two thirds of the vectors' entries are equal in both heads."""
    generator = torch.Generator().manual_seed(0)
    starts = [(8.0 * step * length / 16, length) for length in LENGTHS for step in range(int(200 / length * 2) - 1)]
    windows = [(start, start + length) for start, length in starts]
    moments = torch.cat([cell_moments(CELLS, torch.tensor([end - start])) + start for start, end in windows])
    vectors = [F.normalize(torch.randn(*moments.shape[:2], DIM, generator=generator), dim=-1) for _ in range(2)]
    return EncodedVideo("walk", 200.0, tuple(windows), moments, *vectors, vectors[0][:, finder_cells(CELLS)], "")


def queries(count):
    return F.normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(1)), dim=-1)


def test_windows_found_are_those_with_the_best_cosines_of_the_finder(search, video):
    search = replace(search, max_cells=0, min_windows=3)
    for query, found in zip(queries(5), search.find(video.finder, queries(5)), strict=True):
        best = {number: max(float(vector @ query) for vector in window) for number, window in enumerate(video.finder)}
        assert found.tolist() == sorted(sorted(best, key=best.get)[-3:])


def test_enough_windows_give_what_all_windows_give(search, video):
    plain = replace(search, max_cells=10**9)
    fewer = replace(search, max_cells=0, min_windows=len(video.windows) - 1)
    for one, other in zip(
        plain.best_moments(video, queries(8), queries(8), 1),
        fewer.best_moments(video, queries(8), queries(8), 1),
        strict=True,
    ):
        assert (one[0].start, one[0].end) == (other[0].start, other[0].end)


def test_queries_are_searched_one_by_one_as_together(search, video):
    together = search.best_moments(video, queries(20), queries(20), 3)
    for number, found in enumerate(together):
        (alone,) = search.best_moments(video, queries(20)[number : number + 1], queries(20)[number : number + 1], 3)
        for moment, other in zip(found, alone, strict=True):
            assert (moment.start, moment.end) == (other.start, other.end)
            assert moment.score == pytest.approx(other.score, rel=1e-5)


def test_moment_that_one_window_alone_believes_in_loses_to_one_that_all_do(search, video):
    """A moment of 70 to 74 s, right in every window that holds it, and one of 121 to 125 s with a better score in one."""
    query = queries(1)
    low, high = -query[0], query[0]
    vectors = low.expand(*video.moments.shape[:2], DIM).clone()
    for window, (start, end) in enumerate(video.windows):
        first, last = (round((second - start) / (end - start) * 8) for second in (70, 74))
        if start <= 70 and end >= 74:
            vectors[window, nearest_cells(CELLS)[first, max(last - 1, first)]] = F.normalize(
                high + 0.3 * low.roll(1), dim=0
            )
    loud = next(number for number, (start, end) in enumerate(video.windows) if end - start == 16 and start == 120)
    vectors[loud, nearest_cells(CELLS)[1, 2]] = high
    made = replace(video, moments_contrastive=vectors, moments_iou=vectors, finder=vectors)
    (agreed,) = search.best_moments(made, query, query, 1)
    (alone,) = replace(search, asks_all=False).best_moments(made, query, query, 1)
    assert (alone[0].start, alone[0].end) == pytest.approx((122, 126))
    assert agreed[0].start < 74 and agreed[0].end > 70


def test_windows_are_asked_where_scores_are_cosines_alone():
    rule = ScoringRule(*rule_arguments())
    assert [find_then_ground(replace(rule, match=name), CELLS).asks_all for name in ("cosine", "scaled")] == [
        True,
        False,
    ]


def test_nearest_cell_is_the_one_of_the_highest_iou():
    table = nearest_cells(CELLS)
    for first in range(8):
        for last in range(first, 8):
            span = set(range(first, last + 1))
            ious = [
                len(span & set(range(i, j + 1))) / len(span | set(range(i, j + 1)))
                for i, j in zip(CELLS.rows.tolist(), CELLS.cols.tolist(), strict=True)
            ]
            assert ious[table[first, last]] == max(ious)
