"""The losses in float64: by `mmn.reference`, and as loops over single terms for what that does not know."""

from types import SimpleNamespace

import torch
from tiny import normalised

from mmn import reference
from mmn.modeling.losses import GroundingCriterion, MutualMatchingLoss, NegativeKinds
from mmn.structures.batch import RowLayout
from mmn.structures.moments import cell_ious, temporal_iou

COUNTS = [3, 1, 5]
MIN_IOU, MAX_IOU = 0.3, 0.7
SETTINGS = {
    "num_positives": 1,
    "margin": 0.3,
    "tau_video": 0.1,
    "tau_sent": 0.2,
    "negative_video_iou": 0.5,
    "sent_removal_iou": 0.5,
    "masked_negatives": "ones",
}


def reference_losses(cells, leaves, batch, settings):
    """The three losses of a batch by the method in one file, from the same vectors as `make_criterion`'s."""
    moments, iou_moments, sentences, iou_sentences = normalised(leaves)
    proposals = [cells.to_map(vectors.mT) for vectors in (moments, iou_moments)]
    rows = [batch.video_index == video for video in range(len(batch.durations))]
    moments = batch.moments.split(batch.moment_layout.counts)
    videos = [
        reference.Video(*[None] * 3, [moments[sentence] for sentence in own.nonzero().flatten()], duration)
        for own, duration in zip(rows, batch.durations.tolist(), strict=True)
    ]
    known = {name: value for name, value in settings.items() if name != "masked_negatives"}
    values = reference.Settings(num_clips=cells.num_clips, min_iou=MIN_IOU, max_iou=MAX_IOU, **known)
    pairs = [(sentences[own], iou_sentences[own]) for own in rows]
    return reference.losses(pairs, proposals, cells.mask, videos, values)


class Oracle:
    """The contrastive losses of a batch, one term at a time, with all kinds of negatives.

    past: videos of the memory bank, (name, moments [M, C], sentences [n, C]) each.
    """

    def __init__(self, cells, leaves, batch, settings, past=()):
        self.settings = SimpleNamespace(**{"kinds": NegativeKinds(), **settings})
        self.names = batch.video_ids
        self.past = past
        self.moments, self.iou_moments, self.sentences, self.iou_sentences = normalised(leaves)
        self.video_of = batch.video_index.tolist()
        self.truth = batch.moments.split(batch.moment_layout.counts)
        self.ious, self.pairs = [], []
        for sentence, moments in enumerate(self.truth):
            duration = batch.durations[self.video_of[sentence]]
            # Exact ties, and torch.topk's choice among them, are part of the SPEC: from the float32 map, as in the package.
            maps = [cell_ious(cells, moment[None], duration[None])[0] for moment in moments]
            self.ious.append([max(values) for values in zip(*(ious.tolist() for ious in maps), strict=True)])
            for ious in maps:
                self.pairs += [(sentence, cell) for cell in ious.topk(self.settings.num_positives).indices.tolist()]

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

    def iou(self):
        terms = []
        for sentence, video in enumerate(self.video_of):
            for cell, iou in enumerate(self.ious[sentence]):
                score = torch.sigmoid(10 * (self.iou_sentences[sentence] @ self.iou_moments[video, cell]))
                target = min(max((iou - MIN_IOU) / (MAX_IOU - MIN_IOU), 0), 1)
                terms.append(-target * torch.log(score) - (1 - target) * torch.log(1 - score))
        return sum(terms) / len(terms)

    def _differ(self, sentence, other):
        return all(
            temporal_iou(one, another) < self.settings.sent_removal_iou
            for one in self.truth[sentence]
            for another in self.truth[other]
        )

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
    return GroundingCriterion(cells, MIN_IOU, MAX_IOU, MutualMatchingLoss(**settings), gather_negatives, memory)


def gradients(loss, leaves):
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True, retain_graph=True)


def part_of(batch, leaves, videos):
    """The videos `videos` (a slice) of a batch and of its embeddings."""
    chosen = torch.arange(len(batch.durations))[videos]
    sentences = torch.isin(batch.video_index, chosen)
    moments = sentences[batch.moment_layout.owner]
    counts = torch.tensor(batch.moment_layout.counts)[sentences].tolist()
    part = type(batch)(
        feats=batch.feats[videos],
        tokens=batch.tokens[sentences],
        token_mask=batch.token_mask[sentences],
        token_rows=torch.arange(int(sentences.sum())),
        layout=RowLayout.from_counts(batch.layout.counts[videos]),
        moments=batch.moments[moments],
        moment_layout=RowLayout.from_counts(counts),
        durations=batch.durations[videos],
        sentence_ids=batch.sentence_ids[sentences],
        video_ids=batch.video_ids[videos],
    )
    rows = (videos, videos, sentences, sentences)
    return part, [leaf.detach()[row].clone().requires_grad_() for leaf, row in zip(leaves, rows, strict=True)]
