"""The first epoch of the loader over the same feature rows in each file format.

`python -m mmn.apps.benchmark.feature_formats [VIDEOS [FOLDER]]` measures it by itself.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from terminaltables import AsciiTable
from yacs.config import CfgNode

from mmn.apps.benchmark.data_loading import WORDS
from mmn.apps.benchmark.waiting import loader_rate, train_loader
from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
from mmn.config import load_config
from mmn.config.catalog_entries import TRACK_FORMATS
from mmn.data.splits import Splits
from mmn.data.tokenizer import build_tokenizer

NUM_ROWS, WIDTH, NUM_CLIPS = 75, 512, 32  # CLIP features of a video of QVHighlights; clips of the smallest map
SENTENCES = 2  # per video


def measure_formats(num_videos: int, repeats: int, folder: str | None = None) -> dict[str, float]:
    """Videos per second of a first epoch by format: medians over turns, in each of which every format is read once.

    Args:
        folder: place of the files, by default where the system keeps temporary ones.
    """
    with tempfile.TemporaryDirectory(dir=folder) as root:
        write_dataset(Path(root), num_videos)
        configs = {kind: make_config(root, kind) for kind in TRACK_FORMATS}
        rates: dict[str, list[float]] = {kind: [] for kind in configs}
        for _ in range(repeats):
            for kind, cfg in configs.items():
                loader = train_loader(cfg, Splits(cfg).find(kind), build_tokenizer(cfg))
                rates[kind].append(loader_rate(loader))
    return {kind: statistics.median(values) for kind, values in rates.items()}


def write_dataset(root: Path, num_videos: int) -> None:
    """A made-up split of `num_videos` videos, its rows in every format, and a catalog with a split for each."""
    rng = np.random.default_rng(0)
    content, array = {}, rng.random((NUM_ROWS, WIDTH), dtype=np.float32)
    for kind in TRACK_FORMATS:
        (root / kind).mkdir()
    with h5py.File(root / "hdf5" / "features.hdf5", "w") as file:
        for number in range(num_videos):
            vid, rows = f"v_{number:06d}", array + np.float32(number)
            sentences = [" ".join(rng.choice(WORDS, 10)) for _ in range(SENTENCES)]
            content[vid] = {"duration": 150, "timestamps": [[10, 50]] * SENTENCES, "sentences": sentences}
            file[vid] = rows
            np.savez(root / "npz" / f"{vid}.npz", features=rows)
            np.save(root / "npy" / f"{vid}.npy", rows)
            torch.save(torch.from_numpy(rows), root / "pt" / f"{vid}.pt")
    (root / "train.json").write_text(json.dumps(content))
    tracks = {kind: {"path": kind, "format": kind} for kind in TRACK_FORMATS} | {"hdf5": {"path": "hdf5/features.hdf5"}}
    entries = {kind: {"annotation": "train.json", "tracks": [track]} for kind, track in tracks.items()}
    (root / "catalog.yaml").write_text(json.dumps(entries))
    write_tiny_encoder(root / "encoder", [" ".join(WORDS)])


def make_config(root: str, kind: str) -> CfgNode:
    """A config that trains on the split of one format, without workers: their number would hide what a file costs."""
    values = {
        "PATHS_CATALOG": f"{root}/catalog.yaml",
        "DATASETS.ROOT": root,
        "DATASETS.TRAIN": f"('{kind}',)",
        "INPUT.NUM_PRE_CLIPS": NUM_CLIPS,
        "MODEL.DEVICE": "cpu",
        "MODEL.MMN.FEATPOOL.INPUT_SIZE": WIDTH,
        "MODEL.MMN.TEXT_ENCODER.PRETRAINED": f"{root}/encoder",
        "DATALOADER.NUM_WORKERS": 0,
    }
    return load_config(None, [str(part) for pair in values.items() for part in pair])


def format_rates(rates: dict[str, float], num_videos: int) -> str:
    """A table of videos per second, and their ratio to HDF5's."""
    rows = [[kind, f"{rate:.0f}", f"{rate / rates['hdf5']:.2f}"] for kind, rate in rates.items()]
    title = f"first epoch over {num_videos} videos of {NUM_ROWS} x {WIDTH}"
    return AsciiTable([["format", "videos/s", "ratio to hdf5"], *rows], title).table


def main() -> None:
    num_videos = int(sys.argv[1]) if len(sys.argv) > 1 else 7000
    rates = measure_formats(num_videos, repeats=3, folder=sys.argv[2] if len(sys.argv) > 2 else None)
    print(format_rates(rates, num_videos))


if __name__ == "__main__":
    main()
