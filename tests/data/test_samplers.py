"""Which process sees which videos (SPEC section 4)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.data.samplers import EpochSampler, ShardSampler

SIZES = (st.integers(1, 40), st.integers(1, 6))


def order_of(num_videos, rank, world_size, epoch):
    sampler = EpochSampler(num_videos, rank, world_size)
    sampler.epoch = epoch
    assert len(list(sampler)) == len(sampler)
    return list(sampler)


@given(*SIZES, st.integers(1, 300))
def test_ranks_have_contiguous_blocks_of_the_padded_permutation(num_videos, world_size, epoch):
    order = torch.randperm(num_videos, generator=torch.Generator().manual_seed(epoch)).tolist()
    front = list(order)
    while len(order) % world_size:
        order.append(front[(len(order) - num_videos) % num_videos])
    block = len(order) // world_size
    for rank in range(world_size):
        assert order_of(num_videos, rank, world_size, epoch) == order[rank * block : (rank + 1) * block]


@given(*SIZES, st.integers(1, 300))
def test_every_video_is_seen_in_an_epoch(num_videos, world_size, epoch):
    seen = [video for rank in range(world_size) for video in order_of(num_videos, rank, world_size, epoch)]
    assert set(seen) == set(range(num_videos))


@given(*SIZES, st.integers(1, 300), st.integers(0, 40))
def test_an_epoch_continues_where_it_was_left(num_videos, world_size, epoch, num_done):
    sampler = EpochSampler(num_videos, 0, world_size)
    sampler.epoch = epoch
    whole = list(sampler)
    sampler.num_done = min(num_done, len(whole))
    assert list(sampler) == whole[num_done:]


def test_the_order_depends_on_the_epoch_alone():
    assert order_of(50, 0, 1, 3) == order_of(50, 0, 1, 3) != order_of(50, 0, 1, 4)


def test_the_global_random_state_is_neither_used_nor_changed():
    torch.manual_seed(1)
    first, state = order_of(50, 0, 1, 3), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert order_of(50, 0, 1, 3) == first


@given(*SIZES)
def test_shards_are_the_file_order_cut_once_per_process(num_videos, world_size):
    shards = [list(ShardSampler(num_videos, rank, world_size)) for rank in range(world_size)]
    assert [video for shard in shards for video in shard] == list(range(num_videos))


@given(*SIZES)
def test_shards_differ_by_at_most_one_video(num_videos, world_size):
    lengths = [len(ShardSampler(num_videos, rank, world_size)) for rank in range(world_size)]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("world_size", [1, 3])
def test_more_processes_than_videos_leave_some_without(world_size):
    lengths = [len(ShardSampler(1, rank, world_size)) for rank in range(world_size)]
    assert sorted(lengths) == [0] * (world_size - 1) + [1]
