"""Batches on their way to the device."""

from collections.abc import Iterable, Iterator

import torch

from mmn.structures.batch import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on `device`. On a GPU each is copied on a stream of its own while the one before is computed."""
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    ready = None
    for batch in batches:
        with torch.cuda.stream(stream):
            upcoming = batch.to(device)
        if ready is not None:
            yield ready
        current.wait_stream(stream)
        upcoming.record_stream(current)
        ready = upcoming
    if ready is not None:
        yield ready
