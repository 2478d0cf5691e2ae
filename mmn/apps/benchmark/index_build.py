"""Time the build of an index against the network's forward pass alone over the same windows, in turns.

python -m mmn.apps.benchmark.index_build [--settings charades activitynet] [--videos N] [--repeats 3]

Released widths, random weights, random features in an HDF5 file. One batch is encoded and one built before the turns. The
forward is over the same batches as the build's, of random clips that are there. The weights are hashed once for a model,
however many indexes are built by it: that is before the turns too, and in a column of its own.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import h5py
import numpy as np
from terminaltables import AsciiTable

from mmn.apps.benchmark.batch_sizes import SETTINGS
from mmn.apps.benchmark.latency import ROWS_PER_SECOND, random_localizer
from mmn.apps.localize.identity import model_identity
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.search.build_index import build_index
from mmn.apps.search.indexed_video import BuildSettings
from mmn.apps.search.video_collections import FeatureCollection
from mmn.utils.cli import run_tool
from mmn.utils.logger import get_logger
from mmn.utils.memory import reuse_freed_memory
from mmn.utils.number_arguments import whole_number

VIDEOS = {"charades": (160, 640), "activitynet": (64,), "tacos": (32,)}
COLUMNS = (
    "setting",
    "videos",
    "build s",
    "forward s",
    "forward / build",
    "of one turn",
    "build CPU s",
    "forward CPU s",
    "hash of weights, once s",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=["charades", "activitynet"])
    by_default = "; ".join(f"{name} {' and '.join(map(str, counts))}" for name, counts in VIDEOS.items())
    parser.add_argument(
        "--videos", type=whole_number, nargs="+", metavar="N", help=f"of an index (default {by_default})"
    )
    parser.add_argument("--repeats", type=whole_number, default=3)
    parser.add_argument("--prune", type=float, metavar="COSINE")
    args = parser.parse_args()
    reuse_freed_memory()
    get_logger().setLevel(logging.WARNING)
    print_builds(args.settings, args.repeats, args.videos, BuildSettings(prune=args.prune))


def print_builds(
    names: Sequence[str], repeats: int, counts: Sequence[int] = (), settings: BuildSettings | None = None
) -> list[dict[str, str]]:
    """Measure the builds of indexes by the model of each setting; returns the rows that it prints, by column.

    Args:
        counts: numbers of videos, an index for each; () takes those of VIDEOS.
    """
    wanted = [(name, count) for name in names for count in counts or VIDEOS[name]]
    rows = [measure(name, count, repeats, settings or BuildSettings()) for name, count in wanted]
    print(AsciiTable([list(COLUMNS), *rows], " build of an index ").table, flush=True)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def measure(name: str, num_videos: int, repeats: int, settings: BuildSettings) -> list[str]:
    """A row of the table."""
    localizer, duration = random_localizer(name), SETTINGS[name].duration
    hashing, _ = _seconds(lambda: model_identity(localizer.encoder))
    with tempfile.TemporaryDirectory() as folder:
        few, path = f"{folder}/few.hdf5", f"{folder}/features.hdf5"
        write_features(few, localizer, localizer.batch_size, duration)
        clips = write_features(path, localizer, num_videos, duration)

        def build(features: str, place: str) -> None:
            collection = FeatureCollection(features, "{vid}", localizer.input_size)
            build_index(localizer, collection, place, "exact", settings)

        build(few, f"{folder}/few")
        forward(localizer, clips, len(clips))
        turns = []
        for number in range(repeats):
            place = f"{folder}/index{number}"
            turns.append(
                (*_seconds(lambda at=place: build(path, at)), *_seconds(lambda: forward(localizer, clips, num_videos)))
            )
    builds, build_work, forwards, forward_work = zip(*turns, strict=True)
    ratios = [one / other for one, other in zip(forwards, builds, strict=True)]
    return [
        name,
        str(num_videos),
        f"{statistics.median(builds):.2f}",
        f"{statistics.median(forwards):.2f}",
        f"{statistics.median(forwards) / statistics.median(builds):.3f}",
        f"{min(ratios):.3f} to {max(ratios):.3f}",
        f"{statistics.median(build_work):.2f}",
        f"{statistics.median(forward_work):.2f}",
        f"{hashing:.2f}",
    ]


def write_features(path: str, localizer: MomentLocalizer, num_videos: int, duration: float) -> np.ndarray:
    """Random rows of all videos in a file; returns the clips of a batch of them, [B, P, D] float32."""
    generator, clips = np.random.default_rng(0), []
    with h5py.File(path, "w") as file:
        for number in range(num_videos):
            rows = generator.standard_normal((round(duration * ROWS_PER_SECOND), localizer.input_size), np.float32)
            file.create_dataset(f"video{number}", data=rows).attrs["duration"] = duration
            if len(clips) < localizer.batch_size:
                clips.append(localizer.window_clips(localizer.prepare_video(rows, duration), 0))
    return np.stack(clips)


def forward(localizer: MomentLocalizer, clips: np.ndarray, num_videos: int) -> None:
    """Send as many windows as there are videos through the network, in batches."""
    for start in range(0, num_videos, len(clips)):
        localizer.encode_clips(clips[: num_videos - start])


def _seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    start = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start[0], time.process_time() - start[1]


if __name__ == "__main__":
    run_tool(main)
