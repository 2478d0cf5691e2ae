"""Time the exact search of an index against the plain form of it, in turns, and say how much memory it takes.

python -m mmn.apps.benchmark.exact_search [--moments 5400000] [--width 256] [--k 100] [--repeats 5] [--threads 2]
    [--index FOLDER]

The index is one of random unit vectors in videos of 1104 moments. It is made in a temporary folder, or in --index, where
it stays for the next time.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from terminaltables import AsciiTable

from mmn.apps.search.exact_store import ExactStore
from mmn.apps.search.index_types import IndexInfo, MomentFilter, VideoMoments
from mmn.apps.search.vector_store import create_store, open_store
from mmn.structures.query_vectors import QueryVectors
from mmn.utils.cli import run_tool
from mmn.utils.number_arguments import whole_number

VIDEO_MOMENTS = 1104  # the valid cells of ActivityNet's map
DURATION = 120.0
PLAIN_MOMENTS = 540_000  # that the plain form takes at once: its float32 vectors and scores must fit the memory
BATCHES = (1, 50)
COLUMNS = ("queries", "filter", "fastest s", "median s", "slowest s", "CPU s", "plain s", "times faster", "memory MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=whole_number, default=5_400_000)
    parser.add_argument("--width", type=whole_number, default=256)
    parser.add_argument("--k", type=whole_number, default=100)
    parser.add_argument("--repeats", type=whole_number, default=5)
    parser.add_argument("--threads", type=whole_number, default=torch.get_num_threads())
    parser.add_argument("--index", metavar="FOLDER")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        place = args.index or f"{folder}/index"
        store = open_store(place) if os.path.exists(place) else build(place, args.moments, args.width)
        title = f" {store.num_moments} moments, k {args.k}, {args.threads} threads "
        print(AsciiTable(measure(store, args.k, args.repeats), title).table)


def build(place: str, num_moments: int, width: int) -> ExactStore:
    """An index of random vectors, opened anew."""
    store = create_store(place, IndexInfo(width, "", "random vectors"), "exact")
    batch = []
    for video in random_videos(num_moments, width):
        batch.append(video)
        if len(batch) == 64:
            store.put(batch)
            batch = []
    store.put(batch)
    store.optimize()
    store.close()
    return open_store(place)


def random_videos(num_moments: int, width: int) -> Iterator[VideoMoments]:
    generator = torch.Generator().manual_seed(0)
    for number, first in enumerate(range(0, num_moments, VIDEO_MOMENTS)):
        count = min(VIDEO_MOMENTS, num_moments - first)
        times = torch.rand(count, 2, generator=generator).sort(1).values * DURATION
        vectors = torch.nn.functional.normalize(torch.randn(2, count, width, generator=generator), dim=2).half()
        yield VideoMoments(f"video{number}", DURATION, times.numpy(), *vectors.numpy())


def random_queries(count: int, width: int) -> QueryVectors:
    generator = torch.Generator().manual_seed(1)
    vectors = torch.nn.functional.normalize(torch.randn(2, count, width, generator=generator), dim=2)
    return QueryVectors(*vectors.numpy())


def measure(store: ExactStore, k: int, repeats: int) -> list[list[str]]:
    """Rows of a table."""
    rows = [list(COLUMNS)]
    filters = {
        "none": MomentFilter(),
        "a tenth of the videos": MomentFilter(videos=list(store.videos())[::10]),
        "at most 10 s": MomentFilter(max_length=10.0),
    }
    for count in BATCHES:
        queries = random_queries(count, store.info.dim)
        for name, where in filters.items():
            plain = _plain_form(store, queries, k) if where.is_open else None
            store.search(queries, k, where)
            work = time.process_time()
            with OwnMemory() as memory:
                times = [_seconds(lambda a=queries, b=where: store.search(a, k, b)) for _ in range(repeats)]
            work = (time.process_time() - work) / repeats
            row = [str(count), name, *(f"{value:.3f}" for value in (min(times), statistics.median(times), max(times)))]
            row += [f"{work:.2f}", "", "", f"{memory.growth:.0f}"]
            if plain is not None:
                share = store.num_moments / PLAIN_MOMENTS
                seconds = statistics.median(share * _seconds(plain) for _ in range(repeats))
                row[6:8] = f"{seconds:.2f}", f"{seconds / statistics.median(times):.1f}"
            rows.append(row)
    return rows


def _plain_form(store: ExactStore, queries: QueryVectors, k: int) -> Callable[[], object]:
    """All vectors as float32, one product, one sort: over PLAIN_MOMENTS of the moments, its time is that of a share."""
    parts, count = [], 0
    for name in store.videos():
        parts.append(store.read(name).contrastive)
        count += len(parts[-1])
        if count >= PLAIN_MOMENTS:
            break
    vectors = torch.from_numpy(np.concatenate(parts)[:PLAIN_MOMENTS])
    asked = torch.from_numpy(queries.contrastive)
    return lambda: (asked @ vectors.float().T).topk(min(k, len(vectors)))


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class OwnMemory:
    """Watches how much memory of its own this process takes on in a block: mapped files do not count, they are shared."""

    def __enter__(self) -> "OwnMemory":
        self.before = self.most = _own_memory_mb()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, _own_memory_mb())

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()
        self.growth = self.most - self.before


def _own_memory_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    run_tool(main)
