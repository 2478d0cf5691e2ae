"""Compare libraries that search vectors, on synthetic moments (docs/SEARCH.md). Each library is optional.

python -m mmn.apps.benchmark.vector_engines --engines lance faiss milvus [--vectors 1000000] [--uniform] [--json FILE]

Each library builds, searches and is killed in processes of its own, so that its memory is its own, and what the next
process finds is what it wrote. It gets vectors, the number of a video and the length of each moment.
"""

import argparse
import importlib.metadata
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from mmn.apps.benchmark.engine_trials import TRIALS, Batch
from mmn.apps.benchmark.moment_vectors import MEAN_MOMENTS, SyntheticLibrary
from mmn.utils.cli import run_tool
from mmn.utils.errors import UserError

WIDTH, NUM_QUERIES, BATCH = 256, 200, 20_000
KS = (10, 200)
NUM_FILTER_VIDEOS, MIN_LENGTH = 20, 30.0
KILL_AFTER, SHARE_SECONDS = 6, 20.0  # batches; seconds


def batches(library: SyntheticLibrary, num_vectors: int) -> Iterator[Batch]:
    """The moments of a library in batches of about BATCH, with their number in it as id."""
    parts, first = [], 0
    for video in library.videos(num_vectors):
        parts.append(video)
        if sum(len(part.moments) for part in parts) >= BATCH:
            yield _batch(parts, first)
            first += sum(len(part.moments) for part in parts)
            parts = []
    if parts:
        yield _batch(parts, first)


def _batch(parts: list, first: int) -> Batch:
    moments = np.concatenate([part.moments for part in parts])
    videos = np.repeat([part.number for part in parts], [len(part.moments) for part in parts])
    vectors = np.concatenate([part.vectors[0] for part in parts])
    return Batch(np.arange(first, first + len(moments)), videos, moments[:, 1] - moments[:, 0], vectors)


def nearest(queries: np.ndarray, stream: Iterator[Batch], k: int) -> dict[str, np.ndarray]:
    """[Q, k] cosines of the nearest vectors, best first: of all, of some videos, of long moments. One pass over all."""
    best = {name: np.full((len(queries), k), -2, np.float32) for name in ("all", "videos", "length")}
    for batch in stream:
        cosines = queries @ batch.vectors.astype(np.float32).T
        passing = {
            "all": slice(None),
            "videos": batch.videos < NUM_FILTER_VIDEOS,
            "length": batch.lengths >= MIN_LENGTH,
        }
        for name, columns in passing.items():
            both = np.concatenate([best[name], cosines[:, columns]], axis=1)
            best[name] = -np.partition(-both, k - 1, axis=1)[:, :k]
    return {name: -np.sort(-cosines, axis=1) for name, cosines in best.items()}


# ---- What runs in processes of their own; each prints a dictionary as its last line ----


def build(trial, args: argparse.Namespace) -> dict:
    start, adding = time.perf_counter(), 0.0
    trial.create(WIDTH, args.vectors)
    for batch in batches(args.library, args.vectors):
        began = time.perf_counter()
        trial.add(batch)
        adding += time.perf_counter() - began
    began = time.perf_counter()
    trial.finish()
    finishing = time.perf_counter() - began
    total = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    trial.close()
    return {
        "add s": adding,
        "build s": finishing,
        "total s": total,
        "peak MB": peak,
        "disk MB": _megabytes(trial.folder),
    }


def search(trial, args: argparse.Namespace) -> dict:
    began = time.perf_counter()
    trial.open()
    found = {"open s": time.perf_counter() - began}
    queries = args.library.queries(NUM_QUERIES, max(1, int(args.vectors / MEAN_MOMENTS * 0.9)))
    truth = nearest(queries, batches(args.library, args.vectors), max(KS))
    vectors = np.concatenate([batch.vectors for batch in batches(args.library, args.vectors)])
    for k in KS:
        found |= _ask(trial, queries, vectors, truth["all"], k, f"k={k}", {})
    found |= _ask(trial, queries, vectors, truth["videos"], 10, "20 videos", {"videos": range(NUM_FILTER_VIDEOS)})
    found |= _ask(trial, queries, vectors, truth["length"], 10, "30 s and more", {"min_length": MIN_LENGTH})
    before = found["k=10"]["hits"]
    ids = np.arange(0, 20_000, 20)
    trial.delete(ids)
    gone = [not set(ids.tolist()) & set(trial.search(query, 10).tolist()) for query in queries[:50]]
    found["delete"] = all(gone) and before > 0
    return found


def _ask(trial, queries, vectors, truth, k: int, name: str, where: dict) -> dict:
    """Recall and latency. A vector as near as the k-th nearest counts as one of them, within float16's rounding."""
    try:
        trial.search(queries[0], k, **where)
    except NotImplementedError:
        return {name: "not there"}
    seconds, recall, hits = [], [], 0
    for query, cosines in zip(queries, truth, strict=True):
        began = time.perf_counter()
        ids = np.asarray(trial.search(query, k, **where), np.int64)
        seconds.append(time.perf_counter() - began)
        wanted = min(k, int((cosines > -2).sum()))
        near = vectors[np.unique(ids)].astype(np.float32) @ query >= cosines[wanted - 1] - 1e-6
        recall.append(min(near.sum(), wanted) / wanted)
        hits += len(ids)
    times = dict(zip(("p50", "p95", "p99"), (1000 * np.quantile(seconds, [0.5, 0.95, 0.99])).tolist(), strict=True))
    return {name: {"recall": float(np.mean(recall)), "hits": hits, **times}}


def add_on(trial, args: argparse.Namespace) -> dict:
    """Add to what is there until the time is over or somebody ends this process; says after each batch how many it has."""
    trial.open()
    count, end = int(trial.count()), time.monotonic() + args.seconds
    for batch in batches(SyntheticLibrary(WIDTH, seed=1), 10**9):
        if time.monotonic() > end:
            break
        trial.add(Batch(batch.ids + args.vectors, batch.videos + 10**6, batch.lengths, batch.vectors))
        trial.sync()
        count += len(batch.ids)
        print(count, flush=True)
    trial.close()
    return {"count": count}


def look(trial, args: argparse.Namespace) -> dict:
    """Open, count and search, again and again for some seconds."""
    query = args.library.queries(1, 2)[0]
    trial.open()
    trial.close()
    end, searches, counts = time.monotonic() + args.seconds, 0, set()
    while time.monotonic() < end or not searches:
        trial.open()
        counts.add(int(trial.count()))
        searches += len(trial.search(query, 10)) == 10
        trial.close()
    return {"searches": searches, "counts": sorted(counts)}


STAGES = {"build": build, "search": search, "add_on": add_on, "look": look}


# ---- The process that starts them ----


def compare(name: str, args: argparse.Namespace) -> dict:
    """All figures of one library; a stage that fails leaves its last words."""
    folder = tempfile.mkdtemp(dir=args.folder, prefix=f"{name}_")
    result = {
        "engine": name,
        "vectors": args.vectors,
        "uniform": args.uniform,
        "packages MB": packages(TRIALS[name].packages),
    }
    try:
        for stage in ("build", "search"):
            result[stage] = _stage(name, stage, folder, args)
            print(name, stage, result[stage], flush=True)
            if "error" in result[stage]:
                return result
        result["shared"] = _share(name, folder, args)
        result["killed"] = _kill(name, folder, args)
        print(name, result["shared"], result["killed"], flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _share(name: str, folder: str, args: argparse.Namespace) -> dict:
    """A reader beside a writer."""
    writer = _start(name, "add_on", folder, args, SHARE_SECONDS)
    first = writer.stdout.readline()
    reader = _stage(name, "look", folder, args, SHARE_SECONDS / 2) if first else {}
    _, errors = writer.communicate(timeout=args.timeout)
    return {"reader": reader, "writer": "ended well" if writer.returncode == 0 else _last(errors)}


def _kill(name: str, folder: str, args: argparse.Namespace) -> dict:
    """Kill a writer in the middle of an addition; what the next process finds."""
    writer = _start(name, "add_on", folder, args, 600.0)
    said = [line for _ in range(KILL_AFTER) if (line := writer.stdout.readline())]
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    said += writer.communicate()[0].splitlines()
    return {"acknowledged": said[-1].strip() if said else None, "found": _stage(name, "look", folder, args, 0.0)}


def _start(name: str, stage: str, folder: str, args: argparse.Namespace, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "mmn.apps.benchmark.vector_engines", "--engines", name, "--stage", stage]
    command += ["--folder", folder, "--vectors", str(args.vectors), "--seconds", str(seconds)]
    command += ["--uniform"] if args.uniform else []
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _stage(name: str, stage: str, folder: str, args: argparse.Namespace, seconds: float = 0.0) -> dict:
    process = _start(name, stage, folder, args, seconds)
    try:
        output, errors = process.communicate(timeout=args.timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"not done after {args.timeout:g} s"}
    if process.returncode:
        return {"error": _last(errors) or f"exit code {process.returncode}"}
    return json.loads(output.strip().splitlines()[-1])


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if "Error" in line or "Exception" in line]
    return (lines or text.strip().splitlines() or [""])[-1][:300]


def packages(names: tuple[str, ...]) -> dict[str, float]:
    """MB that each distribution takes on disk."""
    sizes = {}
    for name in names:
        files = importlib.metadata.distribution(name).files or []
        sizes[name] = round(
            sum(os.path.getsize(path) for file in files if os.path.isfile(path := file.locate())) / 2**20
        )
    return sizes


def _megabytes(folder: str) -> float:
    names = [os.path.join(root, name) for root, _, files in os.walk(folder) for name in files]
    return sum(os.path.getsize(name) for name in names) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--uniform", action="store_true", help="directions without structure in place of moments")
    parser.add_argument("--folder", help="for the libraries' files; by default the system's one for temporary files")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds that one stage may take")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.library = SyntheticLibrary(WIDTH, uniform=args.uniform)
    if args.stage:
        print(json.dumps(STAGES[args.stage](TRIALS[args.engines[0]](args.folder), args)))
        return
    results = []
    for name in args.engines:
        try:
            results.append(compare(name, args))
        except importlib.metadata.PackageNotFoundError as error:
            raise UserError(f"{name} needs {error.name}, which is not installed: pip install {error.name}") from error
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    run_tool(main)
