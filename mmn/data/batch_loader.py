"""Samples -> batches, in worker processes where DATALOADER.NUM_WORKERS asks for them."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from mmn.structures.batch import Batch
from mmn.utils.errors import UserError


class BatchLoader:
    """This process's share of a dataset as batches, in the order of a sampler.

    A UserError that a worker meets is raised here as the object that it is. A DataLoader by itself would raise another
    one, whose message is the worker's traceback as text.

    Args:
        dataset: gives a sample for each number that the sampler gives.
        sampler: this process's samples, in order.
        batch_size: samples in a batch; the last one may have fewer.
        collate: samples -> batch.
        options: those of DataLoader for what happens around this: workers, pinned memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        batch_size: int,
        collate: Callable[[Sequence], Batch],
        **options,
    ):
        self.dataset = dataset
        self.sampler = sampler
        self.batch_size = batch_size
        self.loader = DataLoader(
            _Batches(dataset, collate), batch_size=batch_size, sampler=sampler, collate_fn=_unchanged, **options
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            if isinstance(batch, _Failure):
                raise batch.error from WorkerTraceback(batch.traceback)
            yield batch


class WorkerTraceback(Exception):
    """Place in a worker where an error came up, as text: MMN_DEBUG=1 shows it before the error."""


@dataclass
class _Failure:
    error: UserError
    traceback: str


class _Batches(Dataset):
    """Whole batches by the numbers of their samples; in a worker also the UserErrors that these end in."""

    def __init__(self, dataset: Dataset, collate: Callable[[Sequence], Batch]):
        self.dataset = dataset
        self.collate = collate

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, numbers: list[int]) -> Batch | _Failure:
        """The batch of these samples. DataLoader asks a dataset that has this method for whole batches."""
        try:
            return self.collate([self.dataset[number] for number in numbers])
        except UserError as error:
            if get_worker_info() is None:
                raise
            return _Failure(error, traceback.format_exc())


def _unchanged(batch: Batch | _Failure) -> Batch | _Failure:
    """A batch as it is, in place of DataLoader's own collating."""
    return batch
