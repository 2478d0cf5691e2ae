"""The losses against loops over videos, sentences and cells, written from SPEC section 3 in float64."""

import math

import pytest
import torch
from loss_oracle import COUNTS, SETTINGS, Oracle, gradients, iou, make_criterion
from tiny import normalised, random_batch, random_output
from torch.testing import assert_close

from mmn.modeling.losses import NegativeKinds, scaled_iou_loss
from mmn.structures.proposals import ProposalCells

CASES = {
    "released": {},
    "three positives": {"num_positives": 3},
    "masked negatives excluded": {"masked_negatives": "exclude"},
    "positives below the negative IoU": {"num_positives": 6, "negative_video_iou": 0.9},
    "positives below the negative IoU, others excluded": {
        "num_positives": 6,
        "negative_video_iou": 0.9,
        "masked_negatives": "exclude",
    },
    "no own negatives": {"negative_video_iou": 0.0},
    "any overlap removes a sentence": {"sent_removal_iou": 0.01},
    "no sentence is removed": {"sent_removal_iou": 1.01},
    **{f"without {kind}": {"kinds": NegativeKinds(**{kind: False})} for kind in vars(NegativeKinds())},
    "other videos alone": {"kinds": NegativeKinds(same_video_sentences=False, same_video_moments=False)},
    "the own video alone, others excluded": {
        "kinds": NegativeKinds(other_video_sentences=False, other_video_moments=False),
        "masked_negatives": "exclude",
    },
    "no moment at all": {"kinds": NegativeKinds(same_video_moments=False, other_video_moments=False)},
    "high temperature, no margin": {"tau_video": 2.0, "tau_sent": 1.5, "margin": 0.0},
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    """(losses by the code, losses by the oracle, the embeddings both start from)."""
    settings = SETTINGS | request.param
    cells = ProposalCells(8, [3, 2])
    batch, leaves = random_batch(COUNTS, seed=3), random_output(COUNTS, cells)
    oracle = Oracle(cells, leaves, batch, settings)
    wanted = {
        "vid": oracle.video_to_sentence(),
        "sent": oracle.sentence_to_video(),
        "iou": oracle.iou_loss(0.3, 0.7),
    }
    return make_criterion(cells, settings)(normalised(leaves), batch), wanted, leaves


def test_batch_has_overlapping_sentences():
    batch = random_batch(COUNTS, seed=3)
    pairs = [(a, b) for a in range(9) for b in range(a) if batch.video_index[a] == batch.video_index[b]]
    overlaps = [iou(batch.moments[a].tolist(), batch.moments[b].tolist()) for a, b in pairs]
    assert any(value >= 0.5 for value in overlaps)
    assert any(0.01 < value < 0.5 for value in overlaps)


@pytest.mark.parametrize("loss", ["vid", "sent", "iou"])
def test_loss_is_the_naive_one(case, loss):
    measured, wanted, _ = case
    assert_close(measured[loss].double(), wanted[loss], rtol=2e-6, atol=0)


@pytest.mark.parametrize("loss", ["vid", "sent", "iou"])
def test_gradient_is_the_naive_one(case, loss):
    measured, wanted, leaves = case
    for ours, naive in zip(gradients(measured[loss], leaves), gradients(wanted[loss], leaves), strict=True):
        assert_close(ours, naive, rtol=1e-5, atol=1e-6)


def test_masked_negatives_change_the_sentence_to_video_loss_only():
    cells = ProposalCells(8, [3, 2])
    batch, output = random_batch(COUNTS, seed=3), normalised(random_output(COUNTS, cells))
    ones, exclude = (
        make_criterion(cells, SETTINGS | {"masked_negatives": kind})(output, batch) for kind in ("ones", "exclude")
    )
    assert ones["sent"] > exclude["sent"]
    assert torch.equal(ones["vid"], exclude["vid"])
    assert torch.equal(ones["iou"], exclude["iou"])


def test_iou_loss_of_confident_mistakes_is_finite():
    loss = scaled_iou_loss(torch.tensor([[1.0, -1.0]]) * 20, torch.tensor([[0.0, 1.0]]), 0.3, 0.7)
    assert loss.item() == pytest.approx(200)


def test_a_single_video_with_a_single_sentence_has_finite_losses():
    cells = ProposalCells(8, [3, 2])
    losses = make_criterion(cells, SETTINGS)(normalised(random_output([1], cells)), random_batch([1]))
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    assert losses["vid"].item() == pytest.approx(0, abs=1e-6)  # its own sentence is the only one
