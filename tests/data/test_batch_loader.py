"""Batches from worker processes, and the mistakes that the workers find."""

import pytest
from torch.utils.data import Dataset

from mmn.data.batch_loader import BatchLoader, WorkerTraceback
from mmn.utils.errors import DataError


class Numbers(Dataset):
    """The squares of 0 .. 6, of which `bad` cannot be read."""

    def __init__(self, bad=None):
        self.bad = bad

    def __len__(self):
        return 7

    def __getitem__(self, index):
        if index == self.bad:
            raise DataError(f"number {index} is damaged: mend it", is_own=True)
        return index**2


def load(num_workers, bad=None):
    context = "fork" if num_workers else None
    return BatchLoader(Numbers(bad), range(7), 3, list, num_workers=num_workers, multiprocessing_context=context)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_follow_the_sampler(num_workers):
    loader = load(num_workers)
    assert list(loader) == [[0, 1, 4], [9, 16, 25], [36]]
    assert len(loader) == 3


@pytest.mark.parametrize("num_workers", [0, 1])
def test_users_mistake_comes_out_of_a_worker_as_it_was_raised(num_workers):
    batches = iter(load(num_workers, bad=4))
    assert next(batches) == [0, 1, 4]
    with pytest.raises(DataError) as raised:
        next(batches)
    assert str(raised.value) == "number 4 is damaged: mend it"
    assert raised.value.is_own is True


def test_cause_of_a_workers_mistake_says_where_it_came_up():
    with pytest.raises(DataError) as raised:
        list(load(1, bad=0))
    assert isinstance(raised.value.__cause__, WorkerTraceback)
    assert "in __getitem__" in str(raised.value.__cause__)
