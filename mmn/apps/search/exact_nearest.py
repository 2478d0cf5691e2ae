"""The k nearest of very many vectors, exactly and in little memory: a blocked matrix product and a running threshold.

The vectors stay as they are stored, in float16. A block of them at a time becomes float32, small enough to stay in a
processor's cache until it is multiplied. Most scores are only ever compared: those of a group whose largest one does
not reach the k-th best so far are not looked at again. So the cost is that of the product and of one reading of the
vectors.
"""

import functools
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_BYTES = 2**23  # of a block's float32 vectors, near a core; smaller ones make threads wait for the interpreter
DEVICE_BLOCK_BYTES = 2**26  # where the device is no CPU, which wants larger pieces of work
SCORES = 2**21  # that a thread keeps at once
BLOCKS = 8  # that it looks through at once
MOST_THREADS = 16  # more would wait for the interpreter
QUERIES = 512  # that are compared at once
GROUP = 64  # scores that are looked at together
FEW = 16 * GROUP  # that are considered first
EMPTY = torch.iinfo(torch.int64).min
PLACES = 2**32  # that a key can tell apart


@dataclass(frozen=True)
class Run:
    """Some rows of a table of vectors [n, C]: `start` to `stop`, or `rows` [r] int64 where they are scattered."""

    vectors: Tensor
    start: int
    stop: int
    rows: Tensor | None = None

    def __len__(self) -> int:
        return self.stop - self.start if self.rows is None else len(self.rows)

    def part(self, start: int, stop: int) -> Tensor:
        """The vectors of the run's rows `start` to `stop`, [stop - start, C]."""
        if self.rows is not None:
            return self.vectors[self.rows[start:stop]]
        return self.vectors[self.start + start : self.start + stop]


def nearest_vectors(queries: Tensor, runs: Sequence[Run], k: int) -> tuple[Tensor, Tensor]:
    """The places of the k vectors with the largest product with each query, best first.

    On a CPU as many threads work as torch would use, each on blocks of its own: they never wait for each other. How many
    they are changes nothing in what is found, but for the rounding of products.

    Args:
        queries: [Q, C] float32, on the device that computes.
        runs: rows of vectors [n, C] of any float type; where they are on another device they are moved in blocks.
        k: places per query, at most the number of vectors.
    Returns:
        places [Q, k] int64, counted through the runs; the products [Q, k] float32. Of equal products the first place wins.
    """
    total = sum(map(len, runs))
    if not 0 < k <= total <= PLACES:
        raise ValueError(f"k is {k}, of {total} vectors")
    parts = [_nearest(part, runs, k) for part in queries.split(QUERIES)]
    places, scores = (torch.cat(values) for values in zip(*parts, strict=True))
    return places, scores


def _nearest(queries: Tensor, runs: Sequence[Run], k: int) -> tuple[Tensor, Tensor]:
    num_queries, dim = queries.shape
    is_cpu = queries.device.type == "cpu"
    rows = max(GROUP, (BLOCK_BYTES if is_cpu else DEVICE_BLOCK_BYTES) // (4 * dim) // GROUP * GROUP)
    blocks = max(1, min(SCORES // num_queries, BLOCKS * rows) // rows)
    pieces = list(_pieces(runs, rows, blocks))
    following = itertools.count()  # piece to be searched; `next` gives each number to one thread

    def search() -> Tensor:
        block, scores = queries.new_empty(rows, dim), queries.new_empty(num_queries, blocks * rows)
        best = TopK(num_queries, k, queries.device)
        while (number := next(following)) < len(pieces):
            used = 0
            for parts in pieces[number]:
                count = _fill(block, parts)
                torch.mm(queries, block[:count].T, out=scores[:, used : used + count])
                used += count
            best.add(scores, used, number * blocks * rows)
        return best.keys

    num_threads = min(torch.get_num_threads(), MOST_THREADS, len(pieces)) if is_cpu else 1
    if num_threads == 1:
        keys = search()
    else:
        futures = [_workers(torch.get_num_threads()).submit(search) for _ in range(num_threads)]
        keys = torch.cat([future.result() for future in futures], dim=1).topk(k, dim=1).values
    return _places(keys), _scores(keys)


@functools.lru_cache(maxsize=1)
def _workers(num_threads: int) -> ThreadPoolExecutor:
    """Threads in which torch uses no further ones; they stay, as to make one costs as much as some blocks."""
    count = min(num_threads, MOST_THREADS)
    pool = ThreadPoolExecutor(count, "nearest", lambda: torch.set_num_threads(1))
    all_there = threading.Barrier(count)
    for future in [pool.submit(all_there.wait) for _ in range(count)]:
        future.result()
    torch.set_num_threads(num_threads)  # the setting is a thread's own, but new threads begin with the last one made
    return pool


os.register_at_fork(after_in_child=_workers.cache_clear)  # a fork has no threads but one


def _pieces(runs: Sequence[Run], rows: int, blocks: int) -> Iterator[list[list[tuple[Run, int, int]]]]:
    """The runs cut into blocks of `rows` rows, as (run, start, stop) of what a block consists of, `blocks` at a time."""
    piece, parts, used = [], [], 0
    for run in runs:
        start = 0
        while start < len(run):
            stop = min(start + rows - used, len(run))
            parts.append((run, start, stop))
            used, start = used + stop - start, stop
            if used == rows:
                piece.append(parts)
                parts, used = [], 0
            if len(piece) == blocks:
                yield piece
                piece = []
    if parts:
        piece.append(parts)
    if piece:
        yield piece


def _fill(block: Tensor, parts: Sequence[tuple[Run, int, int]]) -> int:
    """Copies rows of runs into `block`; returns how many they are."""
    used = 0
    for run, start, stop in parts:
        block[used : used + stop - start].copy_(run.part(start, stop).to(block.device))
        used += stop - start
    return used


class TopK:
    """The k best of Q rows of scores that come in parts.

    A score and its place are one whole number each, the key: ordered as the scores are, and where these are equal the
    other way round than the places. So all keys differ, and what is kept does not depend on how the scores come, except
    that places must ascend.
    """

    def __init__(self, num_queries: int, k: int, device: torch.device):
        self.keys = torch.full((num_queries, k), EMPTY, dtype=torch.int64, device=device)  # best first
        self.floor = torch.full((num_queries,), -torch.inf, device=device)

    def add(self, scores: Tensor, used: int, first: int) -> None:
        """Consider scores[:, :used], [Q, S] with S a multiple of GROUP; the first has the place `first`."""
        scores = scores[:, : -(-used // GROUP) * GROUP]
        scores[:, used:] = -torch.inf
        start, is_first = 0, bool(self.floor.isinf().any())
        while start < used:  # few at first, while nearly all are among the best
            size = max(FEW, 3 * start) if start < 4 * FEW and is_first else scores.shape[1]
            self._add(scores[:, start : start + size], first + start)
            start += size

    def _add(self, scores: Tensor, first: int) -> None:
        groups = scores.unflatten(1, (-1, GROUP))
        query, group = (groups.amax(2) > self.floor[:, None]).nonzero(as_tuple=True)
        found = groups[query, group]  # [n, GROUP]
        number, offset = (found > self.floor[query, None]).nonzero(as_tuple=True)
        if len(number):
            keys = _keys(found[number, offset], first + group[number] * GROUP + offset)
            self._merge(query[number], keys)

    def _merge(self, query: Tensor, keys: Tensor) -> None:
        """Keep the best of what there is and of `keys` [n], each of the query beside it; the queries ascend."""
        num_queries, k = self.keys.shape
        counts = torch.bincount(query, minlength=num_queries)
        column = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
        table = self.keys.new_full((num_queries, k + int(counts.max())), EMPTY)
        table[:, :k] = self.keys
        table[query, k + column] = keys
        self.keys = table.topk(k, dim=1).values
        self.floor = _scores(self.keys[:, -1])


def _keys(scores: Tensor, places: Tensor) -> Tensor:
    order = _flipped((scores + 0.0).view(torch.int32))  # + 0.0: -0 and 0 are one score
    return (order.long() << 32) | (PLACES - 1 - places)


def _places(keys: Tensor) -> Tensor:
    """int64; anything where a key is EMPTY."""
    return (PLACES - 1) - (keys & (PLACES - 1))


def _scores(keys: Tensor) -> Tensor:
    """float32; -inf where a key is EMPTY."""
    return _flipped((keys >> 32).int()).view(torch.float32).masked_fill(keys == EMPTY, -torch.inf)


def _flipped(bits: Tensor) -> Tensor:
    """The bits of float32 as int32 that are ordered like the floats, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
