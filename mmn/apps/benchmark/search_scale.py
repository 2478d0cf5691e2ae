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
from collections.abc import Callable

import numpy as np

from mmn.apps.benchmark.moment_vectors import MEAN_MOMENTS, SyntheticLibrary, SyntheticVideo
from mmn.apps.benchmark.vector_engines import MIN_LENGTH, NUM_FILTER_VIDEOS, batches, nearest
from mmn.apps.search.ranking import DEFAULT_RULE, find_rule
from mmn.apps.search.records import IndexInfo, MomentFilter, VideoMoments
from mmn.apps.search.vector_store import ENGINES, create_engine, open_engine
from mmn.structures.query_vectors import QueryVectors
from mmn.utils.cli import run_tool
from mmn.utils.errors import UserError

WIDTH, NUM_QUERIES = 256, 200
DEPTH = find_rule(DEFAULT_RULE).depth  # hits that reranking looks at
PUT_MOMENTS = 100_000  # at once
NUM_CHANGED = 20  # videos


def moments_of(video: SyntheticVideo) -> VideoMoments:
    """A synthetic video as an index takes it."""
    return VideoMoments(f"video{video.number}", video.duration, video.moments, *video.vectors, source=str(video.number))


def build(args: argparse.Namespace) -> dict:
    info = IndexInfo(WIDTH, "0" * 64, "synthetic moments")
    seconds = dict.fromkeys(("generate", "put", "optimize"), 0.0)
    with create_engine(args.place, info, args.engine) as index:
        waiting, began = [], time.perf_counter()
        for video in SyntheticLibrary(WIDTH, num_heads=2).videos(args.vectors):
            waiting.append(moments_of(video))
            if sum(len(part.moments) for part in waiting) >= PUT_MOMENTS:
                seconds["generate"] += time.perf_counter() - began
                seconds["put"] += _seconds(lambda: index.put(waiting))  # noqa: B023, called at once
                waiting, began = [], time.perf_counter()
        seconds["generate"] += time.perf_counter() - began
        seconds["put"] += _seconds(lambda: index.put(waiting))
        print("put", seconds, _memory(), flush=True)
        seconds["optimize"] = _seconds(index.optimize)
        found = {"videos": len(index.videos()), "moments": index.num_moments}
    return {**found, **seconds, **_memory(), "disk GB": _disk(args.place)}


def truth(args: argparse.Namespace) -> dict:
    library = SyntheticLibrary(WIDTH)
    asked = _queries(args)
    best = nearest(asked.contrastive, batches(library, args.vectors), DEPTH)
    np.savez(_truth_file(args.place), **best)
    return {name: best[name].shape for name in best}


def search(args: argparse.Namespace) -> dict:
    if not os.path.exists(_truth_file(args.place)):
        raise UserError(f"there is no {_truth_file(args.place)}: run this with `truth` first")
    best, asked = np.load(_truth_file(args.place)), _queries(args)
    found = {}
    began = time.perf_counter()
    with open_engine(args.place) as index:
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
    videos = [moments_of(SyntheticVideo(first + n, *_parts(library.video(n)))) for n in range(NUM_CHANGED)]
    found = {"moments": sum(len(video.moments) for video in videos)}
    with open_engine(args.place) as index:
        found["put s"] = _seconds(lambda: index.put(videos))
        asked = QueryVectors(
            *(np.stack([v.vectors(h)[0] for v in videos]).astype(np.float32) for h in ("contrastive", "iou"))
        )
        hits = index.search(asked, 1)
        found["found at once"] = float(np.mean(hits.videos[:, 0] == [video.video_id for video in videos]))
        found["search ms"] = 1000 * float(
            np.median([_seconds(lambda: index.search(_one(asked, 0), 10)) for _ in range(20)])
        )
        found["replace s"] = _seconds(lambda: index.put(videos))
        found["remove s"] = _seconds(lambda: index.remove([video.video_id for video in videos]))
        found["optimize s"] = _seconds(index.optimize)
        found["search after ms"] = 1000 * float(
            np.median([_seconds(lambda: index.search(_one(asked, 0), 10)) for _ in range(20)])
        )
    return found


def _parts(video: SyntheticVideo) -> tuple[np.ndarray, np.ndarray]:
    return video.moments, video.vectors


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
    parser.add_argument("--vectors", type=int, default=10_000_000)
    parser.add_argument("--engine", choices=list(ENGINES), default="lance")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    found = STAGES[args.stage](args)
    print(json.dumps(found))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    run_tool(main)
