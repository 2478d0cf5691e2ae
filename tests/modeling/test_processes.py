"""Losses and gradients do not depend on how many processes share a batch, where the config says so.

`python tests/modeling/test_processes.py` prints the losses of 1, 2 and 4 processes, with GATHER_NEGATIVES and without.
"""

import functools
import sys
from pathlib import Path

if __name__ == "__main__":  # as pytest does
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import pytest
import torch
from loss_oracle import SETTINGS, gradients, make_criterion, part_of
from processes import run_in_group
from tiny import normalised, random_batch, random_output

from golden_fixture import GoldenFixture
from mmn.modeling import build_criterion
from mmn.modeling.losses import NegativeKinds
from mmn.modeling.memory_bank import MemoryBank
from mmn.structures.proposals import ProposalCells
from mmn.utils import comm

COUNTS = [3, 1, 5, 2, 1, 2, 4, 1]  # sentences of the batch's videos
CASES = {
    "released": ({}, 0),
    "three positives": ({"num_positives": 3}, 0),
    "other videos alone": ({"kinds": NegativeKinds(same_video_sentences=False, same_video_moments=False)}, 0),
    "the own video alone": ({"kinds": NegativeKinds(other_video_sentences=False, other_video_moments=False)}, 0),
    "memory bank of 5": ({}, 5),
    "several moments per sentence": ({"num_positives": 2}, 0),
    "several moments, memory bank of 5": ({}, 5),
    "memory bank of 20": ({"num_positives": 3, "masked_negatives": "exclude"}, 20),
}
NETWORKS = [(norm, impl) for norm in ("sync", "frozen") for impl in ("dense", "fast")]


def weighted(losses):
    return losses["iou"] + 0.1 * (losses["vid"] + losses["sent"])


def own_videos(num_videos):
    """This process's share of a batch's videos, as a slice."""
    share = num_videos // comm.get_world_size()
    return slice(comm.get_rank() * share, (comm.get_rank() + 1) * share)


def averaged(values):
    """What averaging over the processes gives, as for gradients."""
    return [comm.sum_over_processes(value) / comm.get_world_size() for value in values]


def losses_of_case(name, gather=True):
    """The losses of the third step of this group of processes, and all embeddings' gradients."""
    settings, bank_size = CASES[name]
    cells = ProposalCells(8, [3, 2])
    criterion = make_criterion(cells, SETTINGS | settings, gather, MemoryBank(bank_size) if bank_size else None)
    for seed in range(3):
        moment_counts = [1 + number % 4 for number in range(sum(COUNTS))] if "several" in name else None
        batch = random_batch(COUNTS, seed=seed, moment_counts=moment_counts)
        batch.video_ids = [f"video_{(number + 5 * seed) % 20}" for number in range(len(COUNTS))]  # some come again
        batch, leaves = part_of(batch, random_output(COUNTS, cells, seed=seed), own_videos(len(COUNTS)))
        losses = criterion(normalised(leaves), batch)
        if criterion.memory is not None:
            criterion.memory.settle(keep=True)
    rows = [comm.gather_rows(row, comm.row_counts(len(row))) for row in gradients(weighted(losses), leaves)]
    means = dict(zip(losses, averaged([loss.detach() for loss in losses.values()]), strict=True))
    return means, [row / comm.get_world_size() for row in rows]


def network_gradients(norm, impl):
    """Of the whole network in float64: averaged gradients by name, then the batch norms' buffers."""
    golden = GoldenFixture(f"pool_top1-{impl}")
    cfg = golden.cfg
    cfg.MODEL.MMN.LOSS.GATHER_NEGATIVES, cfg.MODEL.MMN.PREDICTOR.BATCH_NORM = True, norm
    model = golden.model().double()
    counts = [3, 1, 2, 2]
    batch = random_batch(counts, cfg.INPUT.NUM_PRE_CLIPS, cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE, seed=1)
    batch, _ = part_of(
        batch, [batch.feats, batch.feats, batch.sentence_durations, batch.sentence_durations], own_videos(len(counts))
    )
    batch.feats = batch.feats.double()
    weighted(build_criterion(cfg)(model(batch), batch)).backward()
    grads = averaged([parameter.grad for parameter in model.parameters()])
    names = [name for name, _ in model.named_parameters()]
    buffers = {name: value for name, value in model.named_buffers() if ".bn." in name}
    return dict(zip(names, grads, strict=True)), buffers


def everything(rank):
    """All that the tests compare, in one group, since starting processes takes longest."""
    torch.manual_seed(0)
    return {name: losses_of_case(name) for name in CASES}, [network_gradients(*network) for network in NETWORKS]


@functools.cache
def results_of(num_processes):
    """The results of rank 0, having checked that the others hold the same."""
    return everything(0) if num_processes == 1 else run_in_group(everything, world_size=num_processes)[0]


@pytest.mark.parametrize("num_processes", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_gathered_negatives_give_the_losses_and_gradients_of_one_process(name, num_processes):
    (wanted, wanted_gradients), (losses, grads) = (results_of(count)[0][name] for count in (1, num_processes))
    for kind in wanted:
        torch.testing.assert_close(losses[kind], wanted[kind], rtol=2e-6, atol=0)
    for ours, whole in zip(grads, wanted_gradients, strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_processes", [2, 4])
@pytest.mark.parametrize("place", range(len(NETWORKS)), ids=["-".join(network) for network in NETWORKS])
def test_network_has_the_gradients_and_statistics_of_one_process(place, num_processes):
    (wanted, wanted_buffers), (grads, buffers) = (results_of(count)[1][place] for count in (1, num_processes))
    assert grads.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(grads[name], value, rtol=1e-6, atol=1e-7 * value.abs().max().item() + 1e-9, msg=name)
    for name, value in wanted_buffers.items():
        torch.testing.assert_close(buffers[name], value, rtol=1e-6, atol=1e-9, msg=name)


def test_synced_statistics_of_one_process_are_those_of_plain_batch_norm():
    for (_, impl), (grads, buffers) in zip(NETWORKS[:2], results_of(1)[1][:2], strict=True):
        wanted, wanted_buffers = network_gradients("process", impl)
        assert all(torch.equal(grads[name], value) for name, value in wanted.items())
        assert all(torch.equal(buffers[name], value) for name, value in wanted_buffers.items())


def losses_for_report(rank):
    return {(name, gather): losses_of_case(name, gather)[0] for name in CASES for gather in (True, False)}


def report():
    groups = {
        1: [losses_for_report(0)],
        **{n: run_in_group(losses_for_report, world_size=n) for n in (2, 4)},
    }
    for name in CASES:
        for gather in (True, False):
            print(f"\n{name}, GATHER_NEGATIVES {gather}")
            for num_processes, results in groups.items():
                losses = results[0][name, gather]
                print(f"  {num_processes} processes ", "  ".join(f"{k} {v.item():.9f}" for k, v in losses.items()))


if __name__ == "__main__":
    report()
