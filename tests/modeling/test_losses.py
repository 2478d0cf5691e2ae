"""The losses, in float64: of the released kind against `mmn.reference`, the other kinds against loops over all terms."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_oracle import COUNTS, SETTINGS, Oracle, gradients, make_criterion, reference_losses
from tiny import normalised, random_batch, random_output
from torch.testing import assert_close

from mmn.modeling.losses import NegativeKinds, scaled_iou_loss
from mmn.structures.batch import RowLayout
from mmn.structures.moments import temporal_iou
from mmn.structures.proposals import ProposalCells

CELLS = ProposalCells(8, [3, 2])
MOMENT_COUNTS = [1, 3, 2, 1, 1, 4, 1, 2, 5]  # of the sentences of COUNTS
RELEASED = {
    "released": {},
    "three positives": {"num_positives": 3},
    "positives below the negative IoU": {"num_positives": 6, "negative_video_iou": 0.9},
    "no own negatives": {"negative_video_iou": 0.0},
    "any overlap removes a sentence": {"sent_removal_iou": 0.01},
    "no sentence is removed": {"sent_removal_iou": 1.01},
    "high temperature, no margin": {"tau_video": 2.0, "tau_sent": 1.5, "margin": 0.0},
}
OTHER_KINDS = {
    "masked negatives excluded": {"masked_negatives": "exclude"},
    "positives below the negative IoU, others excluded": {
        "num_positives": 6,
        "negative_video_iou": 0.9,
        "masked_negatives": "exclude",
    },
    **{f"without {kind}": {"kinds": NegativeKinds(**{kind: False})} for kind in vars(NegativeKinds())},
    "other videos alone": {"kinds": NegativeKinds(same_video_sentences=False, same_video_moments=False)},
    "the own video alone, others excluded": {
        "kinds": NegativeKinds(other_video_sentences=False, other_video_moments=False),
        "masked_negatives": "exclude",
    },
    "no moment at all": {"kinds": NegativeKinds(same_video_moments=False, other_video_moments=False)},
}


@pytest.mark.parametrize("changes", RELEASED.values(), ids=RELEASED)
def test_losses_and_gradients_are_those_of_the_reference(changes):
    values = SETTINGS | changes
    batch, leaves = random_batch(COUNTS, seed=3), random_output(COUNTS, CELLS)
    measured = make_criterion(CELLS, values)(normalised(leaves), batch)
    assert_same_losses(measured, reference_losses(CELLS, leaves, batch, values), leaves)


@pytest.mark.parametrize("changes", OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_losses_and_gradients_of_other_kinds_are_those_of_the_loops(changes):
    values = SETTINGS | changes
    batch, leaves = random_batch(COUNTS, seed=3), random_output(COUNTS, CELLS)
    measured = make_criterion(CELLS, values)(normalised(leaves), batch)
    oracle = Oracle(CELLS, leaves, batch, values)
    assert_same_losses(measured, {"vid": oracle.video_to_sentence(), "sent": oracle.sentence_to_video()}, leaves)


@pytest.mark.parametrize("changes", RELEASED.values(), ids=RELEASED)
def test_losses_of_several_moments_per_sentence_are_those_of_the_reference(changes):
    values = SETTINGS | changes
    batch, leaves = random_batch(COUNTS, seed=3, moment_counts=MOMENT_COUNTS), random_output(COUNTS, CELLS)
    measured = make_criterion(CELLS, values)(normalised(leaves), batch)
    assert_same_losses(measured, reference_losses(CELLS, leaves, batch, values), leaves)


@given(
    st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(0, 2**16),
    st.sampled_from([*RELEASED.values(), *OTHER_KINDS.values()]),
    st.integers(1, 4),
)
@settings(max_examples=20, deadline=None)
def test_losses_of_any_number_of_moments_are_those_of_the_loops(moment_counts, seed, changes, num_positives):
    """By loops over single terms: positives of each moment, negatives by the best of all, removal by any pair."""
    values = SETTINGS | changes | {"num_positives": num_positives}
    counts = [len(video) for video in moment_counts]
    flat = [count for video in moment_counts for count in video]
    batch, leaves = random_batch(counts, seed=seed, moment_counts=flat), random_output(counts, CELLS, seed=seed)
    measured = make_criterion(CELLS, values)(normalised(leaves), batch)
    oracle = Oracle(CELLS, leaves, batch, values)
    assert_same_losses(measured, {"vid": oracle.video_to_sentence(), "sent": oracle.sentence_to_video()}, leaves)
    assert_close(measured["iou"], oracle.iou(), rtol=1e-7, atol=0)  # the targets are float32


def test_one_moment_said_twice_changes_no_loss():
    """The means are over positives, and a moment and its copy have the same ones."""
    batch, leaves = random_batch(COUNTS, seed=3), random_output(COUNTS, CELLS)
    twice = replace(
        batch,
        moments=batch.moments.repeat_interleave(2, dim=0),
        moment_layout=RowLayout.from_counts([2] * sum(COUNTS)),
    )
    once, doubled = (make_criterion(CELLS, SETTINGS)(normalised(leaves), part) for part in (batch, twice))
    for name, loss in once.items():
        assert_close(doubled[name], loss, rtol=1e-12, atol=0)


def assert_same_losses(measured, wanted, leaves):
    for name, loss in wanted.items():
        assert_close(measured[name], loss, rtol=1e-9, atol=0)
        for ours, naive in zip(gradients(measured[name], leaves), gradients(loss, leaves), strict=True):
            assert_close(ours, naive, rtol=1e-8, atol=1e-12)


def test_batch_has_overlapping_sentences():
    batch = random_batch(COUNTS, seed=3)
    pairs = [(a, b) for a in range(9) for b in range(a) if batch.video_index[a] == batch.video_index[b]]
    overlaps = [temporal_iou(batch.moments[a], batch.moments[b]).item() for a, b in pairs]
    assert any(value >= 0.5 for value in overlaps)
    assert any(0.01 < value < 0.5 for value in overlaps)


def test_masked_negatives_change_the_sentence_to_video_loss_only():
    batch, output = random_batch(COUNTS, seed=3), normalised(random_output(COUNTS, CELLS))
    ones, exclude = (
        make_criterion(CELLS, SETTINGS | {"masked_negatives": kind})(output, batch) for kind in ("ones", "exclude")
    )
    assert ones["sent"] > exclude["sent"]
    assert torch.equal(ones["vid"], exclude["vid"])
    assert torch.equal(ones["iou"], exclude["iou"])


def test_iou_loss_of_confident_mistakes_is_finite():
    loss = scaled_iou_loss(torch.tensor([[1.0, -1.0]]) * 20, torch.tensor([[0.0, 1.0]]), 0.3, 0.7)
    assert loss.item() == pytest.approx(200)


def test_a_single_video_with_a_single_sentence_has_finite_losses():
    losses = make_criterion(CELLS, SETTINGS)(normalised(random_output([1], CELLS)), random_batch([1]))
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    assert losses["vid"].item() == pytest.approx(0, abs=1e-6)  # its own sentence is the only one
