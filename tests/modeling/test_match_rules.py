"""Rules of a match, held to their definitions: one moment at a time, by slices and means."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mmn.modeling.match_rules import MATCH_RULES
from mmn.structures.proposals import ProposalCells

CELLS = ProposalCells(12, [5, 3])
BOUNDS = [(int(row), int(col) + 1) for row, col in zip(CELLS.rows, CELLS.cols, strict=True)]
EVERY = ProposalCells(6, [5])


def maps(diagonals, cells=CELLS):
    """Cosines [1, W, M] whose single clips have these values [W, N]; the others do not matter."""
    dense = torch.full((len(diagonals), cells.num_clips, cells.num_clips), 0.9)
    for number, diagonal in enumerate(diagonals):
        dense[number].fill_diagonal_(0).add_(torch.diag(torch.tensor(diagonal, dtype=torch.float32)))
    return cells.from_map(dense)[None]


def naive(rule, clips, first, stop, norm):
    inside, outside = clips[first:stop], np.concatenate([clips[:first], clips[stop:]])
    n, m = len(inside), len(outside)
    if rule == "mean":
        return (inside.mean() + 1) / 2
    if rule == "centred":
        return (inside.mean() - clips.mean()) / 2
    if not m:
        return 0.0
    if rule == "local":
        around = np.concatenate([clips[max(first - n, 0) : first], clips[stop : stop + n]])
        return (inside.mean() - around.mean()) * np.sqrt(n * len(around) / (n + len(around))) / norm
    contrast = inside.mean() - outside.mean()
    if rule == "contrast":
        return contrast / 2
    weight = n * m / (n + m)
    return {"scaled": np.sqrt(weight), "cusum": 2 * weight / np.sqrt(n + m)}[rule] * contrast / norm


cosines = st.floats(-1, 1, width=32)


@pytest.mark.parametrize("rule", [rule for rule in MATCH_RULES if rule != "cosine"])
@settings(max_examples=40, deadline=None)
@given(windows=st.lists(st.lists(cosines, min_size=12, max_size=12), min_size=1, max_size=2))
def test_cumulative_sums_give_the_naive_rule_to_float32(rule, windows):
    found = MATCH_RULES[rule](maps(windows), CELLS)[0]
    norm = np.sqrt(sum(((np.array(clips) - np.mean(clips)) ** 2).sum() for clips in windows))
    if norm < 1e-3:  # all clips alike, for which there is a test below
        return
    wanted = [[naive(rule, np.array(clips), *bounds, norm) for bounds in BOUNDS] for clips in windows]
    assert found.dtype == torch.float32
    assert_close(found, torch.tensor(wanted).clamp(0, 1).float(), rtol=1e-6, atol=1e-6)


def test_scaled_contrast_is_the_correlation_of_the_cosines_with_the_moments_indicator():
    clips = np.random.default_rng(0).uniform(-1, 1, 12)
    found = MATCH_RULES["scaled"](maps([clips.tolist()]), CELLS)[0, 0]
    parts = [(cell, first, stop) for cell, (first, stop) in enumerate(BOUNDS) if stop - first < 12]
    assert len(parts) == len(CELLS) - 1
    for cell, first, stop in parts:
        indicator = [float(first <= clip < stop) for clip in range(12)]
        wanted = max(np.corrcoef(clips, indicator)[0, 1], 0.0)
        assert float(found[cell]) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("rule", ["scaled", "cusum"])
def test_the_moment_of_a_step_in_the_cosines_is_the_best_one(rule):
    step = [0.1, 0.1, 0.3, 0.3, 0.3, 0.1]
    found = MATCH_RULES[rule](maps([step], EVERY), EVERY)[0, 0]
    best = int(found.argmax())
    assert (int(EVERY.rows[best]), int(EVERY.cols[best])) == (2, 4)
    assert found[best] == pytest.approx(1.0)


@pytest.mark.parametrize("rule", [rule for rule in MATCH_RULES if rule not in ("cosine", "mean")])
def test_where_nothing_differs_nothing_is_found_and_the_whole_video_never(rule):
    whole = int(((EVERY.rows == 0) & (EVERY.cols == 5)).nonzero())
    assert MATCH_RULES[rule](maps([[0.25] * 6], EVERY), EVERY).max() == 0
    assert MATCH_RULES[rule](maps([[0.1, 0.2, 0.3, 0.1, 0.3, 0.7]], EVERY), EVERY)[0, 0, whole] == 0


def test_windows_of_a_video_are_compared_by_one_norm():
    """Alone, the small step of the second window would count as much as the large one of the first."""
    large, small = [0.1, 0.1, 0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.2, 0.2, 0.1, 0.1]
    found = MATCH_RULES["scaled"](maps([large, small], EVERY), EVERY)[0]
    assert found[1].max() / found[0].max() == pytest.approx(0.1 / 0.8, rel=1e-5)
