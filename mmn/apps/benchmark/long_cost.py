"""Cost of long videos from pixels: peak memory, disk and time of an encoding, and time of a query, by length.

Each length is a process of its own, so that its peak is its own. The video is rendered, the image encoder is small and
random; the map, the width of the joint space and the text encoder are the released ones for Charades-STA, and with them the
vectors of a window and the time of a query; the network's own layers are narrow, to take less of your time.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from terminaltables import AsciiTable

from mmn.apps.benchmark.batch_sizes import SETTINGS
from mmn.apps.benchmark.settings import measured_config
from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.trained_model import TrainedModel
from mmn.apps.synthetic.tiny_encoder import build_tokenizer
from mmn.apps.synthetic.tiny_vision import write_tiny_vision
from mmn.apps.video.encode import write_video
from mmn.data.tokenizer import QueryTokenizer
from mmn.modeling import build_model
from mmn.utils.memory import peak_memory_mb

FPS = 2.0
SIZE = 48  # pixels
DURATIONS = {"median": 30.0, "longest": 60.0}  # of Charades-STA, about
NUM_WORDS, NUM_QUERIES = 8, 30
NARROW = [
    *("MODEL.MMN.FEATPOOL.HIDDEN_SIZE", "64", "MODEL.MMN.PREDICTOR.HIDDEN_SIZE", "64"),
    *("MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "3", "TEST.BATCH_SIZE", "16"),
]
COLUMNS = ("minutes", "windows", "encoding s", "peak MB", "ratio", "disk MB", "query ms", "95 of 100 below", "ratio")


def print_long_cost(minutes: Sequence[float]) -> None:
    """Print the cost of each length, and its ratio to that of the first."""
    rows, first = [], None
    for length in minutes:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "video.mp4")
            write_video(path, _frames(round(60 * length * FPS)), FPS)
            command = [sys.executable, "-m", "mmn.apps.benchmark.long_cost", path, folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        cost = json.loads(done.stdout.splitlines()[-1])
        first = first or cost
        rows.append(
            [
                f"{length:g}",
                f"{cost['windows']}",
                f"{cost['seconds']:.0f}",
                f"{cost['peak_mb']:.0f}",
                f"{cost['peak_mb'] / first['peak_mb']:.2f}",
                f"{cost['disk_mb']:.0f}",
                f"{cost['query_ms']:.1f}",
                f"{cost['slow_query_ms']:.1f}",
                f"{cost['query_ms'] / first['query_ms']:.2f}",
            ]
        )
        print(*rows[-1], sep="  ", flush=True)
    print(AsciiTable([list(COLUMNS), *rows]).table)


def _frames(count: int) -> Iterator[np.ndarray]:
    """Pictures of one colour each, which changes every five seconds."""
    generator = np.random.default_rng(0)
    for number in range(count):
        if number % round(5 * FPS) == 0:
            image = np.broadcast_to(generator.integers(0, 256, 3, dtype=np.uint8), (SIZE, SIZE, 3))
        yield image


def measure_cost(path: str, folder: str) -> dict[str, float]:
    """Encode a video in `folder`, then ask it; for a process of its own."""
    localizer = _localizer(folder)
    begin = time.perf_counter()
    video = localizer.encode_video(path, cache=os.path.join(folder, "kept"))
    seconds = time.perf_counter() - begin
    generator = np.random.default_rng(0)
    queries = [
        " ".join(f"word{number}" for number in generator.integers(0, 40000, NUM_WORDS)) for _ in range(NUM_QUERIES)
    ]
    times = []
    for query in queries:
        begin = time.perf_counter()
        localizer.localize(video, query)
        times.append(1000 * (time.perf_counter() - begin))
    kept = (os.path.join(place, name) for place, _, names in os.walk(os.path.join(folder, "kept")) for name in names)
    return {
        "windows": len(video.windows),
        "seconds": seconds,
        "peak_mb": peak_memory_mb(localizer.device),
        "disk_mb": sum(map(os.path.getsize, kept)) / 2**20,
        "query_ms": statistics.median(times[1:]),
        "slow_query_ms": float(np.quantile(times[1:], 0.95)),
    }


def _localizer(folder: str) -> MomentLocalizer:
    vision = write_tiny_vision(os.path.join(folder, "image_encoder"))
    extractor = FeatureExtractor("clip", str(vision), fps=FPS)
    text = os.path.join(folder, "text_encoder")
    size = ["MODEL.MMN.FEATPOOL.INPUT_SIZE", str(extractor.backbone.dim)]
    cfg = measured_config(SETTINGS["charades"], text, [*NARROW, *size])
    build_tokenizer((f"word{number}" for number in range(40000)), 30522, 512).save_pretrained(text)
    model = build_model(cfg, pretrained_text=False)
    trained = TrainedModel(cfg, model, QueryTokenizer(text), "random weights")
    return MomentLocalizer.from_trained(replace(trained, train_durations=DURATIONS), "cpu", extractor)


if __name__ == "__main__":
    print(json.dumps(measure_cost(*sys.argv[1:])))
