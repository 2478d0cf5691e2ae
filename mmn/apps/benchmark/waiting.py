"""Waiting for data in training: the share of a step that it does, and what the loader delivers by itself."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mmn.apps.benchmark.batch_sizes import Setting
from mmn.apps.benchmark.data_loading import WORDS
from mmn.apps.benchmark.forms import Workload
from mmn.apps.benchmark.settings import measured_config
from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
from mmn.config.catalog_entries import CatalogEntry
from mmn.data.loaders import build_collator, build_train_loader
from mmn.data.moment_files import build_dataset
from mmn.data.prefetch import on_device
from mmn.data.splits import Split, Splits
from mmn.data.tokenizer import QueryTokenizer
from mmn.engine.meter import Meter

STEPS = 3  # of an epoch
ROWS_PER_SECOND = 4.0  # of the made-up feature files
FPS = 25.0  # of the made-up videos, for datasets that count frames


class Waiting(NamedTuple):
    """Measures of a first epoch, which reads and resamples every video, and of a later one, which finds them in memory.

    Attributes:
        first_batch: seconds until the first batch is there, workers' start included.
        first_wait, later_wait: share of the time that training waited for data; without the first batch.
        first_rate, later_rate: videos per second of the loader when nothing else is computed.
    """

    first_batch: float
    first_wait: float
    later_wait: float
    first_rate: float
    later_rate: float


def measure_waiting(setting: Setting, encoder: str, options: list[str], device: torch.device) -> Waiting:
    """Train `STEPS` steps in each of two epochs, from a feature file of the setting's widths.

    Args:
        encoder: folder for the text encoder's config (see `measured_config`).
        options: further KEY VALUE pairs.
    """
    with tempfile.TemporaryDirectory() as root:
        overrides = ["DATASETS.ROOT", root, "SOLVER.BATCH_SIZE", str(setting.num_videos), *options]
        cfg = measured_config(setting, encoder, overrides)
        split = Splits(cfg).named("TRAIN")[0]
        write_split(cfg, split.entry, setting)
        tokenizer = QueryTokenizer(os.path.join(root, "tokenizer"))
        rates = [loader_rate(loader) for loader in [train_loader(cfg, split, tokenizer)] for _ in range(2)]
        workload = Workload(cfg, setting, device, training=True)
        workload.step()  # buffers and indices are made in the first
        loader = train_loader(cfg, split, tokenizer)
        (first_batch, first_wait), (_, later_wait) = (_wait_share(loader, workload, device) for _ in range(2))
    return Waiting(first_batch, first_wait, later_wait, *rates)


def train_loader(cfg: CfgNode, split: Split, tokenizer: QueryTokenizer) -> DataLoader:
    """The loader of a training split, with nothing cached yet."""
    dataset = build_dataset(cfg, split, tokenizer)
    return build_train_loader(cfg, [dataset], build_collator(cfg, tokenizer))


def loader_rate(loader: DataLoader) -> float:
    """Videos per second over an epoch."""
    start = time.perf_counter()
    count = sum(len(batch.video_ids) for batch in loader)
    return count / (time.perf_counter() - start)


def _wait_share(loader: DataLoader, workload: Workload, device: torch.device) -> tuple[float, float]:
    """An epoch of training: seconds until the first batch, and the share of the rest spent waiting for batches."""
    meter = Meter(device)
    start, first_batch = time.perf_counter(), 0.0
    for workload.batch in meter.time_waits(on_device(loader, device)):
        if not first_batch:
            first_batch = time.perf_counter() - start
            meter.restart()
        workload.step()
        meter.add({}, len(workload.batch.video_ids))
    return first_batch, meter.flush()["data_wait"]


def write_split(cfg: CfgNode, entry: CatalogEntry, setting: Setting) -> None:
    """A made-up training split of the setting, `STEPS` batches long, with a tokenizer, under DATASETS.ROOT."""
    rng = np.random.default_rng(0)
    content, root = {}, Path(cfg.DATASETS.ROOT)
    unit = FPS if entry.time_unit == "frames" else 1.0
    for video in range(STEPS * setting.num_videos):
        bounds = np.sort(rng.uniform(0, setting.duration * unit, (setting.num_sentences, 2)), axis=1)
        content[f"v_{video}"] = {
            "duration": setting.duration,
            "num_frames": round(setting.duration * FPS),
            "fps": FPS,
            "timestamps": bounds.tolist(),
            "sentences": [" ".join(rng.choice(WORDS, rng.integers(6, 21))) for _ in range(setting.num_sentences)],
        }
    path = Path(entry.annotation)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    shape = (round(setting.duration * ROWS_PER_SECOND), cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE)
    (track,) = entry.tracks
    with h5py.File(track.path, "w") as file:
        for video_id in content:
            file[track.key.replace("{vid}", video_id)] = rng.random(shape, dtype=np.float32)
    write_tiny_encoder(root / "tokenizer", [" ".join(WORDS)])
