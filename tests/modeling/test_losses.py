"""The losses against loops over videos, sentences and cells, written from SPEC section 3 in float64."""

import math
from types import SimpleNamespace

import pytest
import torch
from processes import run_in_group
from tiny import normalised, random_batch, random_output
from torch.testing import assert_close

from mmn.modeling.losses import GroundingCriterion, MutualMatchingLoss, scaled_iou_loss
from mmn.structures.batch import SentenceLayout
from mmn.structures.moments import cell_ious
from mmn.structures.proposals import ProposalCells

COUNTS = [3, 1, 5]
SETTINGS = {
    "num_positives": 1,
    "margin": 0.3,
    "tau_video": 0.1,
    "tau_sent": 0.2,
    "negative_video_iou": 0.5,
    "sent_removal_iou": 0.5,
    "masked_negatives": "ones",
}
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
    "high temperature, no margin": {"tau_video": 2.0, "tau_sent": 1.5, "margin": 0.0},
}


def iou(a, b):
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0])) / (max(a[1], b[1]) - min(a[0], b[0]))


def cell_bounds(cells, duration):
    pairs = zip(cells.rows.tolist(), cells.cols.tolist(), strict=True)
    return [(row * duration / cells.num_clips, (column + 1) * duration / cells.num_clips) for row, column in pairs]


class Oracle:
    """The three losses of a batch, one term at a time."""

    def __init__(self, cells, leaves, batch, settings):
        self.settings = SimpleNamespace(**settings)
        self.moments, self.iou_moments, self.sentences, self.iou_sentences = normalised(leaves)
        self.video_of = batch.video_index.tolist()
        self.truth = batch.moments.tolist()
        durations = [batch.durations.tolist()[video] for video in self.video_of]
        self.ious = [
            [iou(cell, truth) for cell in cell_bounds(cells, duration)]
            for truth, duration in zip(self.truth, durations, strict=True)
        ]
        # Cells that cover a short moment tie exactly; torch.topk's choice on the float32 map is part of the SPEC.
        positives = cell_ious(cells, batch.moments, batch.sentence_durations).topk(self.settings.num_positives)
        self.pairs = [(sentence, cell) for sentence, row in enumerate(positives.indices.tolist()) for cell in row]

    def iou_loss(self, min_iou, max_iou):
        terms = []
        for sentence, row in enumerate(self.ious):
            for cell, value in enumerate(row):
                target = min(max((value - min_iou) / (max_iou - min_iou), 0), 1)
                cosine = self.iou_sentences[sentence] @ self.iou_moments[self.video_of[sentence], cell]
                score = 1 / (1 + torch.exp(-10 * cosine))
                terms.append(-target * torch.log(score) - (1 - target) * torch.log(1 - score))
        return sum(terms) / len(terms)

    def video_to_sentence(self):
        return sum(self._video_to_sentence_term(*pair) for pair in self.pairs) / len(self.pairs)

    def _video_to_sentence_term(self, sentence, cell):
        video, margin, tau = self.video_of[sentence], self.settings.margin, self.settings.tau_video
        positive = self.moments[video, cell]
        denominator = 0
        for other in range(len(self.sentences)):
            cosine = positive @ self.sentences[other]
            if other == sentence:
                denominator = denominator + torch.exp((cosine - margin) / tau)
            elif self.video_of[other] != video or self._differ(sentence, other):
                denominator = denominator + torch.exp(cosine / tau)
        numerator = torch.exp((positive @ self.sentences[sentence] - margin) / tau)
        return -torch.log(numerator / denominator)

    def _differ(self, sentence, other):
        return iou(self.truth[sentence], self.truth[other]) < self.settings.sent_removal_iou

    def sentence_to_video(self):
        return sum(self._sentence_to_video_term(*pair) for pair in self.pairs) / len(self.pairs)

    def _sentence_to_video_term(self, sentence, cell):
        video, tau = self.video_of[sentence], self.settings.tau_sent
        vector = self.sentences[sentence]
        numerator = torch.exp((vector @ self.moments[video, cell] - self.settings.margin) / tau)
        denominator = numerator + 1e-6
        for other, cells in enumerate(self.moments):
            for index, moment in enumerate(cells):
                if other != video or self.ious[sentence][index] < self.settings.negative_video_iou:
                    denominator = denominator + torch.exp(vector @ moment / tau)
                elif self.settings.masked_negatives == "ones":
                    denominator = denominator + 1
        return -torch.log(numerator / denominator)


def make_criterion(cells, settings, gather_negatives=False):
    return GroundingCriterion(cells, 0.3, 0.7, MutualMatchingLoss(**settings), gather_negatives)


def gradients(loss, leaves):
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True, retain_graph=True)


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


# ---- Sharing negatives between processes -----------------------------------------------------------------------------


def part_of(batch, leaves, videos):
    """The videos `videos` (a slice) of a batch and of its embeddings."""
    chosen = torch.arange(len(batch.durations))[videos]
    sentences = torch.isin(batch.video_index, chosen)
    part = type(batch)(
        feats=batch.feats[videos],
        tokens=batch.tokens[sentences],
        token_mask=batch.token_mask[sentences],
        token_rows=torch.arange(int(sentences.sum())),
        layout=SentenceLayout.from_counts(batch.layout.counts[videos]),
        moments=batch.moments[sentences],
        durations=batch.durations[videos],
        sentence_ids=batch.sentence_ids[sentences],
        video_ids=batch.video_ids[videos],
    )
    rows = (videos, videos, sentences, sentences)
    return part, [leaf.detach()[row].clone().requires_grad_() for leaf, row in zip(leaves, rows, strict=True)]


def share_of_losses(rank, gather_negatives):
    """In one of two processes: its losses, and the gradients of its own embeddings."""
    torch.manual_seed(0)
    cells = ProposalCells(8, [3, 2])
    batch, leaves = random_batch(COUNTS, seed=3), random_output(COUNTS, cells)
    batch, leaves = part_of(batch, leaves, slice(0, 2) if rank == 0 else slice(2, 3))
    criterion = make_criterion(cells, SETTINGS | {"num_positives": 3}, gather_negatives)
    losses = criterion(normalised(leaves), batch)
    grads = gradients(losses["iou"] + 0.1 * (losses["vid"] + losses["sent"]), leaves)
    return {name: loss.detach() for name, loss in losses.items()}, [gradient.float() for gradient in grads]


def test_gathered_negatives_give_the_losses_and_gradients_of_one_process():
    cells = ProposalCells(8, [3, 2])
    leaves = random_output(COUNTS, cells)
    whole = make_criterion(cells, SETTINGS | {"num_positives": 3})(normalised(leaves), random_batch(COUNTS, seed=3))
    wanted = gradients(whole["iou"] + 0.1 * (whole["vid"] + whole["sent"]), leaves)
    (first, first_gradients), (second, second_gradients) = run_in_group(share_of_losses, True)
    for name, loss in whole.items():  # each process holds its part of the mean, times the number of processes
        assert_close((first[name] + second[name]) / 2, loss.detach(), rtol=2e-6, atol=0)
    for ours, parts in zip(wanted, zip(first_gradients, second_gradients, strict=True), strict=True):
        assert_close(torch.cat(parts) / 2, ours.float(), rtol=1e-5, atol=1e-6)  # as averaging over processes divides
