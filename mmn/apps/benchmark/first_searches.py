"""Time the first searches after an index of the engine lance was opened, with and without reading its groups at once.

python -m mmn.apps.benchmark.first_searches [--place FOLDER] [--vectors N] [--repeats 3] [--json FILE]

The index is one of synthetic moments, made in FOLDER unless it is there, else in a temporary one. Each opening is in a
process of its own, in which nothing has been read: with the files in the system's file cache, and after they were put out
of it. `MomentIndex.open` calls `prewarm`, so that who serves an index pays for it before the first query.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from terminaltables import AsciiTable

from mmn.apps.benchmark.moment_vectors import MEAN_MOMENTS, SyntheticLibrary
from mmn.apps.benchmark.search_scale import WIDTH, build
from mmn.apps.search.vector_store import has_index, open_store
from mmn.structures.query_vectors import QueryVectors
from mmn.utils.cli import run_tool
from mmn.utils.number_arguments import whole_number

NUM_SEARCHES = 50
NUM_HITS = 10
VECTORS = 500_000
COLUMNS = ("files", "prewarmed", "opening s", "prewarming s", "p50 ms", "p95 ms", "slowest ms", "p95 of one turn")
CACHES, PREWARMINGS = ("in the cache", "on the disk"), ("no", "yes")
FIGURES = ("open", "prewarm", "p50", "p95", "slowest")


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure_opening(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "yes")))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", metavar="FOLDER", help="the index's folder, to be kept")
    parser.add_argument(
        "--vectors", type=whole_number, default=VECTORS, help="moments of the index (default %(default)s)"
    )
    parser.add_argument("--repeats", type=whole_number, default=3, help="openings of each kind (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    found = print_first_searches(args.repeats, args.vectors, args.place)
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1))


def print_first_searches(repeats: int, vectors: int = VECTORS, place: str | None = None) -> list[dict[str, object]]:
    """Print the times of the first searches, medians over `repeats` openings of each kind, and return those of each."""
    found = []
    with _index(place, vectors) as folder:
        for _ in range(repeats):
            for files in CACHES:
                for prewarmed in PREWARMINGS:
                    _prepare_cache(folder, files)
                    words = ["-m", "mmn.apps.benchmark.first_searches", "--one", folder, str(vectors), prewarmed]
                    done = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
                    figures = json.loads(done.stdout.splitlines()[-1])
                    found.append({"files": files, "prewarmed": prewarmed, **figures})
    rows = [_row(found, files, prewarmed) for files in CACHES for prewarmed in PREWARMINGS]
    title = f" first {NUM_SEARCHES} searches after opening, {vectors} moments "
    print(AsciiTable([list(COLUMNS), *rows], title).table, flush=True)
    return found


def _row(found: list[dict], files: str, prewarmed: str) -> list[str]:
    openings = [one for one in found if (one["files"], one["prewarmed"]) == (files, prewarmed)]
    medians = [float(np.median([one[name] for one in openings])) for name in FIGURES]
    p95 = [one["p95"] for one in openings]
    shown = [f"{value:.2f}" for value in medians[:2]] + [f"{value:.1f}" for value in medians[2:]]
    return [files, prewarmed, *shown, f"{min(p95):.1f} to {max(p95):.1f}"]


@contextlib.contextmanager
def _index(place: str | None, vectors: int) -> Iterator[str]:
    """The folder of an index, which is built where it is not there."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = place or os.path.join(temporary, "index")
        if not has_index(folder):
            with contextlib.redirect_stdout(sys.stderr):
                build(Namespace(place=folder, vectors=vectors, engine="lance"))
        yield folder


def _prepare_cache(folder: str, files: str) -> None:
    """Have the files of an index in the system's file cache, or out of it as far as the system lets go of them."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                if files == CACHES[1] and hasattr(os, "posix_fadvise"):
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                while files == CACHES[0] and file.read(2**24):
                    pass


def measure_opening(place: str, vectors: int, prewarms: bool) -> dict[str, float]:
    """Open an index in this process and search it NUM_SEARCHES times, each query alone.

    Returns:
        "open" and "prewarm" in seconds; "p50", "p95" and "slowest" in milliseconds of a search.
    """
    asked = SyntheticLibrary(WIDTH).queries(NUM_SEARCHES, max(1, int(0.9 * vectors / MEAN_MOMENTS)))
    times = [time.perf_counter()]
    with open_store(place) as index:
        times.append(time.perf_counter())
        if prewarms:
            index.prewarm()
        times.append(time.perf_counter())
        for query in asked:
            index.search(QueryVectors(query[None], query[None]), NUM_HITS)
            times.append(time.perf_counter())
    opening, prewarming, *searches = np.diff(times).tolist()
    p50, p95, slowest = (1000 * np.quantile(searches, [0.5, 0.95, 1.0])).tolist()
    return {"open": opening, "prewarm": prewarming, "p50": p50, "p95": p95, "slowest": slowest}


if __name__ == "__main__":
    run_tool(main)
