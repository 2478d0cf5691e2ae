"""The losses, in float64: of the released kind against `mmn.reference`, the other kinds against loops over all terms."""

import math

import pytest
import torch
from loss_oracle import COUNTS, SETTINGS, Oracle, gradients, make_criterion, reference_losses
from tiny import normalised, random_batch, random_output
from torch.testing import assert_close

from mmn.modeling.losses import NegativeKinds, scaled_iou_loss
from mmn.structures.moments import temporal_iou
from mmn.structures.proposals import ProposalCells

CELLS = ProposalCells(8, [3, 2])
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


@pytest.mark.parametrize("settings", RELEASED.values(), ids=RELEASED)
def test_losses_and_gradients_are_those_of_the_reference(settings):
    settings = SETTINGS | settings
    batch, leaves = random_batch(COUNTS, seed=3), random_output(COUNTS, CELLS)
    measured = make_criterion(CELLS, settings)(normalised(leaves), batch)
    assert_same_losses(measured, reference_losses(CELLS, leaves, batch, settings), leaves)


@pytest.mark.parametrize("settings", OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_losses_and_gradients_of_other_kinds_are_those_of_the_loops(settings):
    settings = SETTINGS | settings
    batch, leaves = random_batch(COUNTS, seed=3), random_output(COUNTS, CELLS)
    measured = make_criterion(CELLS, settings)(normalised(leaves), batch)
    oracle = Oracle(CELLS, leaves, batch, settings)
    assert_same_losses(measured, {"vid": oracle.video_to_sentence(), "sent": oracle.sentence_to_video()}, leaves)


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
