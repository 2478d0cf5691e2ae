"""The losses of HC-STVG against the plain loops, and what is around them."""

import naive_tubes
import pytest
import torch
from processes import run_in_group
from torch.nn import functional as F
from torch.testing import assert_close

from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.tubes import (
    TubeCriterion,
    TubeFeatAvgPool,
    TubeMatchingLoss,
    find_positives,
    tube_cosines,
    tube_scores,
)
from mmn.structures.batch import RowLayout, TubeBatch
from mmn.utils import comm

NUM_CELLS, SIZE = 5, 6
MARGIN, TAU_VIDEO, TAU_SENT, NEGATIVE_IOU = 0.3, 0.15, 0.2, 0.5
NUM_TUBES = [2, 1, 3, 2]


def make_criterion(tube_index="released", masked="ones", gather=False):
    matching = TubeMatchingLoss(MARGIN, TAU_VIDEO, TAU_SENT, NEGATIVE_IOU, masked, tube_index)
    return TubeCriterion(0.3, 0.9, matching, gather)


def make_leaves(num_tubes, seed=0):
    """Leaves of the vectors of a `GroundingOutput`, float64, and IoU maps with a low positive and equal cells."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(sum(num_tubes), NUM_CELLS, SIZE)] * 2 + [(len(num_tubes), SIZE)] * 2
    leaves = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    ious = torch.rand(sum(num_tubes), NUM_CELLS, generator=generator, dtype=torch.float64)
    ious[:, 3] = ious[:, 1]  # cells of the same rows
    ious[: num_tubes[0]] *= 0.4  # a video whose best cell is below the IoU of negatives
    return leaves, ious


def make_batch(num_tubes, ious):
    """A batch of nothing but what the losses read."""
    nothing = torch.zeros(0)
    return TubeBatch(
        feats=nothing,
        tokens=nothing,
        token_mask=nothing,
        token_rows=nothing,
        sentence_ids=torch.arange(len(num_tubes)),
        video_ids=[],
        tubes=RowLayout.from_counts(num_tubes),
        lengths=nothing,
        ious=ious,
    )


def as_output(leaves):
    return GroundingOutput(*(F.normalize(leaf, dim=-1) for leaf in leaves))


def gradients(losses, leaves):
    total = losses["iou"] + 0.1 * (losses["vid"] + losses["sent"])
    return torch.autograd.grad(total, leaves)


@pytest.mark.parametrize("masked", ["ones", "exclude"])
@pytest.mark.parametrize("tube_index", ["released", "batch"])
@pytest.mark.parametrize("num_tubes", [NUM_TUBES, [1], [3], [1, 1]], ids=str)
def test_losses_and_gradients_are_those_of_the_plain_loops(num_tubes, tube_index, masked):
    leaves, ious = make_leaves(num_tubes)
    measured = make_criterion(tube_index, masked)(as_output(leaves), make_batch(num_tubes, ious))
    output = as_output(leaves)
    naive = naive_tubes.losses(
        output.moments_contrastive,
        output.moments_iou,
        output.sentences_contrastive,
        output.sentences_iou,
        ious,
        num_tubes,
        MARGIN,
        TAU_VIDEO,
        TAU_SENT,
        NEGATIVE_IOU,
        tube_index,
        masked,
        0.3,
        0.9,
    )
    assert_close(measured, naive, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(gradients(measured, leaves), gradients(naive, leaves), strict=True):
        assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_leaving_out_the_own_tube_changes_the_loss():
    leaves, ious = make_leaves(NUM_TUBES)
    batch = make_batch(NUM_TUBES, ious)
    losses = [make_criterion(index)(as_output(leaves), batch)["sent"] for index in ("released", "batch")]
    assert abs(losses[0] - losses[1]) > 1e-3


def test_losses_of_equal_vectors_are_finite():
    leaves = [torch.ones_like(leaf).requires_grad_() for leaf in make_leaves(NUM_TUBES)[0]]
    losses = make_criterion("batch", "exclude")(
        as_output(leaves), make_batch(NUM_TUBES, torch.ones(8, NUM_CELLS).double())
    )
    assert all(torch.isfinite(gradient).all() for gradient in gradients(losses, leaves))


def test_of_equal_cells_the_first_tube_s_is_the_positive():
    ious = torch.tensor([[0.1, 0.2], [0.7, 0.7], [0.7, 0.1], [0.0, 0.0]])
    positives = find_positives(ious, RowLayout.from_counts([3, 1]), first_own_tube=10)
    assert positives.slot.tolist() == [1, 0]
    assert positives.tube.tolist() == [11, 13]
    assert positives.cell.tolist() == [0, 0]


def test_cosines_are_with_the_own_video_s_sentence():
    leaves, _ = make_leaves(NUM_TUBES)
    output, tubes = as_output(leaves), RowLayout.from_counts(NUM_TUBES)
    measured = tube_cosines(output.sentences_contrastive, output.moments_contrastive, tubes)
    for tube, video in enumerate([0, 0, 1, 2, 2, 2, 3, 3]):
        assert_close(measured[tube], output.moments_contrastive[tube] @ output.sentences_contrastive[video])


def test_score_is_negative_where_the_cosine_is():
    leaves, _ = make_leaves(NUM_TUBES)
    output, tubes = as_output(leaves), RowLayout.from_counts(NUM_TUBES)
    cosine = tube_cosines(output.sentences_contrastive, output.moments_contrastive, tubes)
    scores = tube_scores(output, tubes)
    assert (cosine < 0).any()
    assert torch.equal(scores < 0, cosine < 0)


def test_unused_layers_are_saved_and_take_no_gradient():
    pool = TubeFeatAvgPool(input_size=4, hidden_size=3, kernel_size=2, stride=2, joint_space_size=5)
    pool(torch.randn(2, 8, 4)).sum().backward()
    assert {name: list(value.shape) for name, value in pool.state_dict().items() if name.startswith("fc")} == {
        "fc1.weight": [5, 4],
        "fc1.bias": [5],
        "fc2.weight": [5, 5],
        "fc2.bias": [5],
    }
    assert pool.conv.weight.grad is not None
    assert pool.fc1.weight.grad is None
    assert not pool.fc2.weight.requires_grad


# ---- Negatives of all processes --------------------------------------------------------------------------------------

SHARES = ([2, 1, 3], [2])  # NUM_TUBES over two processes


def losses_of_share(rank):
    """By TUBE_INDEX: losses and the gradients of its own leaves, on one of two processes with a part of the batch each."""
    leaves, ious = make_leaves(NUM_TUBES)
    tubes = slice(0, 6) if rank == 0 else slice(6, 8)
    sentences = slice(0, 3) if rank == 0 else slice(3, 4)
    own = [leaf.detach()[tubes if leaf.ndim == 3 else sentences].clone().requires_grad_() for leaf in leaves]
    results = {}
    for tube_index in ("released", "batch"):
        losses = make_criterion(tube_index, gather=True)(as_output(own), make_batch(SHARES[rank], ious[tubes]))
        means = {name: comm.sum_over_processes(loss.detach()) / 2 for name, loss in losses.items()}
        results[tube_index] = {"losses": means, "gradients": list(gradients(losses, own))}
    return results


@pytest.fixture(scope="module")
def shares():
    return run_in_group(losses_of_share)


@pytest.mark.parametrize("tube_index", ["released", "batch"])
def test_gathered_negatives_give_the_loss_and_gradient_of_one_process(shares, tube_index):
    leaves, ious = make_leaves(NUM_TUBES)
    whole = make_criterion(tube_index)(as_output(leaves), make_batch(NUM_TUBES, ious))
    results = [share[tube_index] for share in shares]
    for result in results:
        assert_close(result["losses"], {name: loss.detach() for name, loss in whole.items()}, rtol=1e-9, atol=1e-9)
    for number, wanted in enumerate(gradients(whole, leaves)):
        # Averaged over processes, as DistributedDataParallel does.
        measured = torch.cat([result["gradients"][number] for result in results]) / 2
        assert_close(measured, wanted, rtol=1e-8, atol=1e-10)
