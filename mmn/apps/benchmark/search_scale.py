"""An index of millions of synthetic moments: how long it takes to build, how large it gets, how fast and how well it finds.

python -m mmn.apps.benchmark.search_scale build  --place FOLDER --vectors 10000000
python -m mmn.apps.benchmark.search_scale truth  --place FOLDER --vectors 10000000
python -m mmn.apps.benchmark.search_scale search --place FOLDER --vectors 10000000 [--json FILE]
python -m mmn.apps.benchmark.search_scale change --place FOLDER --vectors 10000000

`truth` compares every query with every vector, which `search` needs for the recall; it stays beside the index. `change`
adds videos to the index, replaces and removes them, and says how long that takes and whether they are found at once.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from mmn.apps.benchmark.moment_vectors import MEAN_MOMENTS, SyntheticLibrary, SyntheticVideo, in_batches
from mmn.apps.search.index_types import IndexInfo, MomentFilter, VideoMoments
from mmn.apps.search.ranking_rules import DEFAULT_RULE, find_rule
from mmn.apps.search.store_names import STORES
from mmn.apps.search.vector_store import create_store, open_store
from mmn.structures.query_vectors import HEADS, QueryVectors
from mmn.utils.cli import run_tool
from mmn.utils.errors import UserError
from mmn.utils.number_arguments import whole_number

WIDTH, NUM_QUERIES = 256, 200
DEPTH = find_rule(DEFAULT_RULE).depth  # hits that reranking looks at
PUT_MOMENTS = 100_000  # at once
COMPARED_MOMENTS = 20_000  # at once, for the truth
NUM_FILTER_VIDEOS, MIN_LENGTH = 20, 30.0  # of the filters: the first videos; seconds
NUM_CHANGED = 20  # videos


def moments_of(video: SyntheticVideo) -> VideoMoments:
    """A synthetic video as an index takes it."""
    return VideoMoments(f"video{video.number}", video.duration, video.moments, *video.vectors, source=str(video.number))


def build(args: argparse.Namespace) -> dict:
    info = IndexInfo(WIDTH, "0" * 64, "synthetic moments")
    seconds = dict.fromkeys(("generate", "put", "optimize"), 0.0)
    with create_store(args.place, info, args.engine) as index:
        began = time.perf_counter()
        for batch in in_batches(SyntheticLibrary(WIDTH, num_heads=2).videos(args.vectors), PUT_MOMENTS):
            videos = [moments_of(video) for video in batch]
            seconds["generate"] += time.perf_counter() - began
            seconds["put"] += _seconds(lambda: index.put(videos))  # noqa: B023, called at once
            began = time.perf_counter()
        print("put", seconds, _memory(), flush=True)
        seconds["optimize"] = _seconds(index.optimize)
        found = {"videos": len(index.videos()), "moments": index.num_moments}
    return {**found, **seconds, **_memory(), "disk GB": _disk(args.place)}


def truth(args: argparse.Namespace) -> dict:
    library = SyntheticLibrary(WIDTH)
    asked = _queries(args)
    best = nearest_cosines(asked.contrastive, library.videos(args.vectors), DEPTH)
    np.savez(_truth_file(args.place), **best)
    return {name: best[name].shape for name in best}


def nearest_cosines(queries: np.ndarray, videos: Iterable[SyntheticVideo], k: int) -> dict[str, np.ndarray]:
    """Cosines [Q, k] of the moments nearest to queries [Q, C], best first, by comparison with all of them in one pass.

    Returns them by what was searched: "all" moments, those of the first NUM_FILTER_VIDEOS "videos", those of MIN_LENGTH
    seconds or more ("length"). Where fewer than k moments pass, a row ends in -2.
    """
    best = {name: np.full((len(queries), k), -2, np.float32) for name in ("all", "videos", "length")}
    for batch in in_batches(videos, COMPARED_MOMENTS):
        cosines = queries @ np.concatenate([video.vectors[0] for video in batch]).astype(np.float32).T
        numbers = np.repeat([video.number for video in batch], [len(video.moments) for video in batch])
        lengths = np.concatenate([video.moments[:, 1] - video.moments[:, 0] for video in batch])
        passing = {"all": slice(None), "videos": numbers < NUM_FILTER_VIDEOS, "length": lengths >= MIN_LENGTH}
        for name, columns in passing.items():
            both = np.concatenate([best[name], cosines[:, columns]], axis=1)
            best[name] = -np.partition(-both, k - 1, axis=1)[:, :k]
    return {name: -np.sort(-cosines, axis=1) for name, cosines in best.items()}


def search(args: argparse.Namespace) -> dict:
    if not os.path.exists(_truth_file(args.place)):
        raise UserError(f"there is no {_truth_file(args.place)}: run this with `truth` first")
    best, asked = np.load(_truth_file(args.place)), _queries(args)
    found = {}
    began = time.perf_counter()
    with open_store(args.place) as index:
        index.prewarm()
        found["open s"] = time.perf_counter() - began
        some = MomentFilter(videos=[f"video{number}" for number in range(NUM_FILTER_VIDEOS)])
        cases = {
            "k=10, the first after opening": (10, MomentFilter(), best["all"]),
            "k=10": (10, MomentFilter(), best["all"]),
            f"k={DEPTH}": (DEPTH, MomentFilter(), best["all"]),
            f"k=10, {NUM_FILTER_VIDEOS} videos": (10, some, best["videos"]),
            f"k=10, {MIN_LENGTH:g} s and more": (10, MomentFilter(min_length=MIN_LENGTH), best["length"]),
        }
        for name, (k, where, cosines) in cases.items():
            found[name] = _measure(lambda query: index.search(query, k, where), asked, cosines, k)  # noqa: B023
            print(name, found[name], flush=True)
        fifty = QueryVectors(asked.contrastive[:50], asked.iou[:50])
        found["50 queries at once, s"] = _seconds(lambda: index.search(fifty, 10))
    return {**found, **_memory()}


def _measure(ask: Callable, asked: QueryVectors, cosines: np.ndarray, k: int) -> dict[str, float]:
    """Latency in ms, each query alone, and recall@k: hits at least as near as the k-th nearest, within rounding."""
    ask(_one(asked, 0))
    seconds, recall = [], []
    for number in range(len(asked)):
        began = time.perf_counter()
        hits = ask(_one(asked, number))
        seconds.append(time.perf_counter() - began)
        wanted = min(k, int((cosines[number] > -2).sum()))
        recall.append((hits.contrastive[0, :wanted] >= cosines[number, wanted - 1] - 2e-6).mean())
    times = (1000 * np.quantile(seconds, [0.5, 0.95, 0.99])).tolist()
    return {"recall": float(np.mean(recall)), **dict(zip(("p50", "p95", "p99"), times, strict=True))}


def change(args: argparse.Namespace) -> dict:
    """Videos of another library come, are found before anything is optimized, are replaced and go again."""
    library = SyntheticLibrary(WIDTH, seed=7, num_heads=2)
    first = 10**7  # a number that no video of the index has
    videos = [moments_of(replace(library.video(number), number=first + number)) for number in range(NUM_CHANGED)]
    found = {"moments": sum(len(video.moments) for video in videos)}
    with open_store(args.place) as index:
        found["put s"] = _seconds(lambda: index.put(videos))
        firsts = (np.stack([video.vectors(head)[0] for video in videos]).astype(np.float32) for head in HEADS)
        asked = QueryVectors(*firsts)

        def search_ms() -> float:
            return 1000 * float(np.median([_seconds(lambda: index.search(_one(asked, 0), 10)) for _ in range(20)]))

        hits = index.search(asked, 1)
        found["found at once"] = float(np.mean(hits.videos[:, 0] == [video.video_id for video in videos]))
        found["search ms"] = search_ms()
        found["replace s"] = _seconds(lambda: index.put(videos))
        found["remove s"] = _seconds(lambda: index.remove([video.video_id for video in videos]))
        found["optimize s"] = _seconds(index.optimize)
        found["search after ms"] = search_ms()
    return found


def _queries(args: argparse.Namespace) -> QueryVectors:
    vectors = SyntheticLibrary(WIDTH).queries(NUM_QUERIES, max(1, int(0.9 * args.vectors / MEAN_MOMENTS)))
    return QueryVectors(vectors, vectors)


def _one(asked: QueryVectors, number: int) -> QueryVectors:
    return QueryVectors(asked.contrastive[number : number + 1], asked.iou[number : number + 1])


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _memory() -> dict[str, float]:
    return {"peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _disk(place: str) -> float:
    names = [os.path.join(root, name) for root, _, files in os.walk(place) for name in files]
    return sum(os.path.getsize(name) for name in names) / 2**30


def _truth_file(place: str) -> str:
    return place.rstrip("/") + ".truth.npz"


STAGES = {"build": build, "truth": truth, "search": search, "change": change}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("--place", required=True, help="the index's folder")
    parser.add_argument("--vectors", type=whole_number, default=10_000_000)
    parser.add_argument("--engine", choices=list(STORES), default="lance")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    found = STAGES[args.stage](args)
    print(json.dumps(found))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    run_tool(main)
