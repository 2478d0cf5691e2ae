"""The memory bank: which past videos are negatives, and what they add to the losses."""

import pytest
import torch
from loss_oracle import SETTINGS, Oracle, gradients, make_criterion
from tiny import normalised, random_batch, random_output
from torch.testing import assert_close

from mmn.modeling.losses import NegativeKinds
from mmn.modeling.memory_bank import MemoryBank, video_keys
from mmn.structures.proposals import ProposalCells

CELLS = ProposalCells(8, [3, 2])
# The videos of three steps, with their sentences: c and a come again.
STEPS = [{"a": 3, "b": 1, "c": 2}, {"d": 2, "c": 1}, {"e": 1, "a": 2, "f": 3}]


def step(number):
    """(batch, embeddings before normalisation) of a step."""
    counts = list(STEPS[number].values())
    batch = random_batch(counts, seed=number)
    batch.video_ids = list(STEPS[number])
    return batch, random_output(counts, CELLS, seed=number)


def past_of(number):
    """The videos of a step as a plain list: (name, moments, sentences)."""
    batch, leaves = step(number)
    moments, _, sentences, _ = normalised(leaves)
    return [
        (name, moments[video].detach(), sentences[batch.video_index == video].detach())
        for video, name in enumerate(batch.video_ids)
    ]


def run_steps(criterion, numbers):
    for number in numbers:
        batch, leaves = step(number)
        criterion(normalised(leaves), batch)
        criterion.memory.settle(keep=True)


def last_distinct(videos, size):
    """Naively: of each video its last appearance, of these the last `size`."""
    newest = {}
    for video in videos:
        newest.pop(video[0], None)
        newest[video[0]] = video
    return list(newest.values())[-size:]


KINDS = {
    "all": NegativeKinds(),
    "own video and other sentences": NegativeKinds(other_video_moments=False),
    "own video and other moments": NegativeKinds(other_video_sentences=False),
}


@pytest.mark.parametrize("size", [1, 2, 4, 100])
@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS.keys())
def test_losses_and_gradients_are_the_naive_ones(size, kinds):
    settings = SETTINGS | {"kinds": kinds}
    criterion = make_criterion(CELLS, settings, memory=MemoryBank(size))
    run_steps(criterion, [0, 1])
    batch, leaves = step(2)
    past = last_distinct([*past_of(0), *past_of(1)], size)
    oracle = Oracle(CELLS, leaves, batch, settings, past)
    wanted = {"vid": oracle.video_to_sentence(), "sent": oracle.sentence_to_video()}
    measured = criterion(normalised(leaves), batch)
    for name, loss in wanted.items():
        assert_close(measured[name].double(), loss, rtol=2e-6, atol=0)
        for ours, naive in zip(gradients(measured[name], leaves), gradients(loss, leaves), strict=True):
            assert_close(ours, naive, rtol=1e-5, atol=1e-6)


def test_bank_raises_the_contrastive_losses_and_not_the_iou_loss():
    with_bank, without = make_criterion(CELLS, SETTINGS, memory=MemoryBank(9)), make_criterion(CELLS, SETTINGS)
    run_steps(with_bank, [0, 1])
    batch, leaves = step(2)
    ours, plain = with_bank(normalised(leaves), batch), without(normalised(leaves), batch)
    assert ours["vid"] > plain["vid"]
    assert ours["sent"] > plain["sent"]
    assert torch.equal(ours["iou"], plain["iou"])


def test_nothing_is_taken_in_before_the_step_is_settled():
    criterion = make_criterion(CELLS, SETTINGS, memory=MemoryBank(9))
    batch, leaves = step(0)
    criterion(normalised(leaves), batch)
    assert criterion.memory.content is None
    criterion.memory.settle(keep=False)
    criterion.memory.settle(keep=True)
    assert criterion.memory.content is None


def test_content_has_no_gradient():
    criterion = make_criterion(CELLS, SETTINGS, memory=MemoryBank(9))
    run_steps(criterion, [0])
    assert not any(value.requires_grad for value in criterion.memory.content[:2])


def test_restored_bank_is_the_saved_one():
    bank = make_criterion(CELLS, SETTINGS, memory=MemoryBank(4))
    run_steps(bank, [0, 1])
    restored = MemoryBank(4)
    restored.load_state_dict(bank.memory.state_dict(), torch.device("cpu"))
    saved, again = bank.memory.state_dict(), restored.state_dict()
    assert saved.keys() == again.keys()
    assert all(torch.equal(saved[name], again[name]) for name in saved)
    restored.load_state_dict(MemoryBank(4).state_dict(), torch.device("cpu"))
    assert restored.content is None


def test_video_keys_tell_videos_apart_and_stay_the_same():
    assert len(set(video_keys(["a", "b", "a"]))) == 2
    assert video_keys(["v_1"]) == (-3423884576314782845,)
