"""The losses as loops over videos, sentences and cells, written from SPEC section 3 in float64."""

from types import SimpleNamespace

import torch
from tiny import normalised

from mmn.modeling.losses import GroundingCriterion, MutualMatchingLoss, NegativeKinds
from mmn.structures.batch import SentenceLayout
from mmn.structures.moments import cell_ious

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


def iou(a, b):
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0])) / (max(a[1], b[1]) - min(a[0], b[0]))


def cell_bounds(cells, duration):
    pairs = zip(cells.rows.tolist(), cells.cols.tolist(), strict=True)
    return [(row * duration / cells.num_clips, (column + 1) * duration / cells.num_clips) for row, column in pairs]


class Oracle:
    """The three losses of a batch, one term at a time.

    past: videos of the memory bank, (name, moments [M, C], sentences [n, C]) each.
    """

    def __init__(self, cells, leaves, batch, settings, past=()):
        self.settings = SimpleNamespace(**{"kinds": NegativeKinds(), **settings})
        self.names = batch.video_ids
        self.past = past
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
            elif self.video_of[other] == video:
                if self.settings.kinds.same_video_sentences and self._differ(sentence, other):
                    denominator = denominator + torch.exp(cosine / tau)
            elif self.settings.kinds.other_video_sentences:
                denominator = denominator + torch.exp(cosine / tau)
        for name, _, sentences in self.past:
            if self.settings.kinds.other_video_sentences and name != self.names[video]:
                for past in sentences:
                    denominator = denominator + torch.exp(positive @ past / tau)
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
            if other == video:
                continue
            if self.settings.kinds.other_video_moments:
                denominator = denominator + sum(torch.exp(vector @ moment / tau) for moment in cells)
        for name, cells, _ in self.past:
            if self.settings.kinds.other_video_moments and name != self.names[video]:
                denominator = denominator + sum(torch.exp(vector @ moment / tau) for moment in cells)
        if self.settings.kinds.same_video_moments:
            denominator = denominator + self._own_cells(sentence, vector, tau)
        return -torch.log(numerator / denominator)

    def _own_cells(self, sentence, vector, tau):
        total = 0
        for index, moment in enumerate(self.moments[self.video_of[sentence]]):
            if self.ious[sentence][index] < self.settings.negative_video_iou:
                total = total + torch.exp(vector @ moment / tau)
            elif self.settings.masked_negatives == "ones":
                total = total + 1
        return total


def make_criterion(cells, settings, gather_negatives=False, memory=None):
    return GroundingCriterion(cells, 0.3, 0.7, MutualMatchingLoss(**settings), gather_negatives, memory)


def gradients(loss, leaves):
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True, retain_graph=True)


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
