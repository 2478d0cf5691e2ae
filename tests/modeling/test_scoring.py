"""Scores of sentences with the moments of their own video."""

import math

import pytest
import torch
from tiny import normalised, random_output
from torch.nn import functional as F
from torch.testing import assert_close

from mmn.modeling.scoring import final_score, iou_score, own_video_cosines
from mmn.structures.batch import RowLayout
from mmn.structures.proposals import ProposalCells


@pytest.mark.parametrize("counts", [[3, 1, 4], [1], [2, 2], [1, 9, 1, 3]])
def test_cosines_are_with_the_own_video(counts):
    videos = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    sentences, moments = torch.randn(sum(counts), 5), torch.randn(len(counts), 7, 5)
    wanted = torch.stack([moments[video] @ sentences[row] for row, video in enumerate(videos)])
    assert_close(own_video_cosines(sentences, moments, RowLayout.from_counts(counts)), wanted)


def test_cosines_allow_a_video_without_sentences():
    sentences, moments = torch.randn(3, 5), torch.randn(3, 7, 5)
    measured = own_video_cosines(sentences, moments, RowLayout.from_counts([1, 0, 2]))
    assert_close(
        measured, torch.stack([moments[0] @ sentences[0], moments[2] @ sentences[1], moments[2] @ sentences[2]])
    )


def test_scores_of_an_output_are_cosine_and_sigmoid_of_ten_cosines():
    leaves = random_output([2, 1], ProposalCells(8, [3]))
    contrastive, iou = normalised(leaves).scores(RowLayout.from_counts([2, 1]))
    for row, video in enumerate([0, 0, 1]):
        assert_close(contrastive[row], F.cosine_similarity(leaves[0][video], leaves[2][row], dim=-1))
        assert_close(iou[row], torch.sigmoid(10 * F.cosine_similarity(leaves[1][video], leaves[3][row], dim=-1)))


@pytest.mark.parametrize("cosine", [-1.0, -0.2, 0.0, 0.7, 1.0])
def test_iou_score(cosine):
    assert iou_score(torch.tensor(cosine)).item() == pytest.approx(1 / (1 + math.exp(-10 * cosine)), rel=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 1.0, 2.0])
def test_final_score(power):
    contrastive, iou = torch.rand(20) * 2 - 1, torch.rand(20)
    wanted = [((c + 1) / 2) ** power * i for c, i in zip(contrastive.tolist(), iou.tolist(), strict=True)]
    assert final_score(contrastive, iou, power).tolist() == pytest.approx(wanted, rel=1e-5)


def test_final_score_of_a_cosine_rounded_below_minus_one_is_zero():
    assert final_score(torch.tensor([-1.0000001]), torch.tensor([0.9]), 0.5).item() == 0


@pytest.mark.parametrize("kind", ["contrastive", "iou"])
def test_score_of_one_head_ranks_as_this_head_alone(kind):
    contrastive, iou = torch.rand(20) * 2 - 1, torch.rand(20)
    score = final_score(contrastive, iou, 0.5, kind)
    wanted = {"contrastive": [(c + 1) / 2 for c in contrastive.tolist()], "iou": iou.tolist()}[kind]
    assert score.tolist() == pytest.approx(wanted, rel=1e-5)
    assert torch.equal(score.argsort(), (contrastive if kind == "contrastive" else iou).argsort())


def test_product_with_power_0_is_the_iou_score():
    contrastive, iou = torch.tensor([-1.0, -0.3, 0.8]), torch.rand(3)
    assert torch.equal(final_score(contrastive, iou, 0.0), final_score(contrastive, iou, 0.5, "iou"))
