"""Write `files/` beside this script by the tools of an earlier revision: `python write.py CHECKOUT`.

CHECKOUT is a checkout of the revision that README.md names; the Python that runs this has its requirements and `av`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = Path("/tmp/compat")  # an index holds the whole path of its checkpoint
DIM = 8

ENCODERS = f"""
from mmn.data.tiny_encoder import write_tiny_encoder
from mmn.data.tiny_vision import write_tiny_vision
import json
size = dict(hidden_size=8, num_layers=1, num_heads=2)
for name, key in (("pixels", "sentences"), ("synthetic_stvg", "sentence")):
    entries = json.load(open(f"dataset/{{name}}/train.json")).values()
    texts = [text for entry in entries for text in ([entry[key]] if key == "sentence" else entry[key])]
    write_tiny_encoder(f"dataset/{{name}}/text_encoder", texts, max_position_embeddings=48, **size)
write_tiny_vision("dataset/pixels/image_encoder", image_size=16, patch_size=8, dim={DIM}, **size)
"""

# tools/train_net.py, to which SIGTERM comes in the second epoch after its second iteration.
STOPPED = """
import os, signal
import train_net
from mmn.engine.trainer import Trainer
from mmn.utils.cli import run_tool
finish = Trainer._finish_iteration

def stop(trainer, iteration):
    if (trainer.state.epoch, iteration) == (1, 2):
        os.kill(os.getpid(), signal.SIGTERM)
    finish(trainer, iteration)

Trainer._finish_iteration = stop
run_tool(train_net.main)
"""

WIDTHS = {
    "INPUT.NUM_PRE_CLIPS": 16,
    "MODEL.DEVICE": "cpu",
    "MODEL.MMN.NUM_CLIPS": 8,
    "MODEL.MMN.FEAT2D.POOLING_COUNTS": "[7]",
    "MODEL.MMN.FEATPOOL.HIDDEN_SIZE": 8,
    "MODEL.MMN.JOINT_SPACE_SIZE": 8,
    "MODEL.MMN.PREDICTOR.HIDDEN_SIZE": 8,
    "MODEL.MMN.PREDICTOR.KERNEL_SIZE": 3,
    "MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS": 2,
    "DATASETS.ROOT": "dataset",
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.BATCH_SIZE": 2,
    "SOLVER.TEST_PERIOD": 1,
    "SOLVER.LOG_PERIOD": 1,
    "TEST.BATCH_SIZE": 2,
}
MOMENTS = WIDTHS | {
    "MODEL.MMN.TEXT_ENCODER.PRETRAINED": "dataset/pixels/text_encoder",
    "MODEL.MMN.FEATPOOL.INPUT_SIZE": DIM,
    "MODEL.MMN.LOSS.MEMORY_BANK": 2,
    "SOLVER.EMA_DECAY": 0.5,
    "SOLVER.MAX_EPOCH": 2,
    "OUTPUT_DIR": "run",
}
TUBES = WIDTHS | {
    "MODEL.MMN.TEXT_ENCODER.PRETRAINED": "dataset/synthetic_stvg/text_encoder",
    "MODEL.MMN.FEATPOOL.INPUT_SIZE": [DIM, DIM],
    "SOLVER.MAX_EPOCH": 1,
    "OUTPUT_DIR": "tubes",
}
KEPT = (
    "*.*",
    "dataset/pixels/*.*",
    "dataset/synthetic_stvg/test*",
    "dataset/*/text_encoder/*",
    "clips/*",
    "run/*.yml",
    "run/*.jsonl",
    "run/*_last.pth",
    "run_whole/*.jsonl",
    "run_whole/*_2e.pth",
    "tubes/*.yml",
    "tubes/*_1e.pth",
    "index_*/*.json*",
    "index_*/*/**/*.*",
    "study/*.*",
    "study/**/*.json*",
    "study/**/config.yml",
    "run/last_checkpoint",
    "study/**/last_checkpoint",
)
SENTENCES = ("a red circle moves", "the blue square disappears")


def words(options: dict) -> list[str]:
    return [str(word) for pair in options.items() for word in pair]


class Checkout:
    """The tools of a checkout, run in WORK."""

    def __init__(self, folder: str):
        self.folder = Path(folder).resolve()

    def python(self, *arguments: object, expected: int = 0) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{self.folder}:{self.folder / 'tools'}",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=WORK, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != expected:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def tool(self, name: str, *arguments: object, expected: int = 0) -> str:
        return self.python(self.folder / "tools" / name, *arguments, expected=expected)


def make_datasets(old: Checkout) -> None:
    counts = ("--videos-train", 5, "--videos-test", 3)
    videos = ("--out", "dataset/pixels", "--size", 32, "--videos-val", 13)  # enough pairs to calibrate on
    old.tool("make_pixel_videos.py", *videos, *counts)
    old.tool("make_synthetic_stvg.py", "--out", "dataset/synthetic_stvg", "--dim", DIM, "--videos-val", 2, *counts)
    old.python("-c", ENCODERS)
    source = ("--videos", "dataset/pixels/videos", "--out", "dataset/pixels/features.hdf5", "--device", "cpu")
    backbone = ("--backbone", "clip", "--weights", "dataset/pixels/image_encoder", "--fps", 2)
    old.tool("extract_features.py", *source, *backbone)


def make_runs(old: Checkout) -> None:
    """run: stopped in the middle of its second epoch; run_whole: gone on with to the end; tubes: HC-STVG."""
    pixels, stvg = (old.folder / "configs" / name for name in ("pixels.yaml", "synthetic_stvg.yaml"))
    train = ("--config-file", pixels, "--skip-test", *words(MOMENTS))
    old.python("-c", STOPPED, *train, expected=75)
    shutil.copytree(WORK / "run", WORK / "run_whole")
    resumed = ("OUTPUT_DIR", "run_whole", "SOLVER.RESUME", "True")
    old.tool("train_net.py", "--config-file", "run/config.yml", "--skip-test", *resumed)
    files = ("--ckpt", "run_whole/pool_model_2e.pth", "--dump", "predictions.jsonl", "--dump-maps", "maps.h5")
    (WORK / "table.txt").write_text(old.tool("test_net.py", "--config-file", "run/config.yml", *files))
    old.tool("cache_features.py", "--config-file", "run/config.yml", "DATALOADER.CACHE_DIR", "clips")
    old.tool("train_net.py", "--config-file", stvg, "--skip-test", *words(TUBES))
    old.tool("test_net.py", "--config-file", "tubes/config.yml", "--dump", "tubes.json")
    score = ("--predictions", "tubes.json", "--annotations", "dataset/synthetic_stvg/test.json")
    (WORK / "tubes_table.txt").write_text(old.tool("evaluate.py", *score))


def make_indexes(old: Checkout) -> None:
    model = ("--ckpt", "run_whole/pool_model_2e.pth")
    videos = ("--features", "dataset/pixels/features.hdf5", "--annotations", "dataset/pixels/test.json")
    old.tool("build_index.py", *model, *videos, "--index", "index_exact", "--engine", "exact")
    old.tool("calibrate_index.py", "--index", "index_exact", *model)
    old.tool("build_index.py", "--index", "index_lance", "--from", "index_exact", "--engine", "lance")
    old.tool("search.py", "--index", "index_exact", *SENTENCES, "--top-k", 4, "--json", "found.jsonl")


def make_study(old: Checkout) -> None:
    rows = ("--vary", "MODEL.MMN.LOSS.MARGIN=0.2,0", "--seeds", 2, "--out", "study", "--no-figure")
    options = ("SOLVER.MAX_EPOCH", 1, "SOLVER.TEST_PERIOD", 100, "MODEL.MMN.LOSS.MEMORY_BANK", 0)
    old.tool("ablate.py", "--config-file", "run/config.yml", *rows, *options)


def main() -> None:
    old = Checkout(sys.argv[1])
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    for make in (make_datasets, make_runs, make_indexes, make_study):
        make(old)
    keep(WORK, HERE / "files")


def keep(source: Path, target: Path) -> None:
    """Copy the files of KEPT."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted({path for pattern in KEPT for path in source.glob(pattern) if path.is_file()}):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


if __name__ == "__main__":
    main()
