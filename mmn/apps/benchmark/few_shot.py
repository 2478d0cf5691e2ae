"""From zero-shot to trained: an MMN that starts as a dual encoder against one from scratch, with ever fewer annotations.

    python -m mmn.apps.benchmark.few_shot --annotations dataset/Charades_STA --out FOLDER [--parts 1 0.1 0.01]

Features are simulated (`mmn.apps.synthetic.simulated_features`) for the real annotations charades_train.json and
charades_test.json; the text encoder of both starts is that of their words (`mmn.apps.synthetic.word_encoder`), so that the
two are a dual encoder. Accuracy is that on the test split after each of a few epochs: nothing is picked by it. Says that
the path works, nothing about real videos.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from mmn.apps.synthetic.options import SimulationOptions
from mmn.apps.synthetic.simulated_features import collect_videos, simulate_features
from mmn.apps.synthetic.word_encoder import write_word_encoder
from mmn.utils.text_files import parse_json, read_text

DIM, SEED = 64, 0
EVALUATIONS = 2  # of each training
SPACE = [word for key in ("FEATPOOL.INPUT_SIZE", "JOINT_SPACE_SIZE") for word in (f"MODEL.MMN.{key}", str(DIM))]
STARTS = {
    "dual encoder": ["MODEL.MMN.DUAL_START", "True", "TEST.CONTRASTIVE_RULE", "scaled", "SOLVER.LR", "0.0005"],
    "scratch": ["MODEL.MMN.DUAL_START", "False", "SOLVER.LR", "0.002"],
}


def write_dataset(annotations: Path, out: Path, noise: float, parts: list[float]) -> None:
    """Features, text encoder, annotations of the parts, and a catalog of them."""
    files = [annotations / f"charades_{split}.json" for split in ("train", "test")]
    out.mkdir(parents=True, exist_ok=True)
    simulate_features(files, out / "features.hdf5", SimulationOptions(DIM, noise, seed=SEED), log=lambda line: None)
    sentences = {sentence for video in collect_videos(files).values() for *_, sentence in video.moments}
    write_word_encoder(out / "text_encoder", sorted(sentences), DIM, SEED)
    train, test = (parse_json(read_text(str(path))) for path in files)
    entries = {"few_test": test}
    for part in parts:
        kept = sorted(train)[:: round(1 / part)]
        entries[f"few_{part:g}"] = {vid: train[vid] for vid in kept}
    for name, content in entries.items():
        (out / f"{name}.json").write_text(json.dumps(content))
    catalog = {name: {"annotation": f"{name}.json", "features": "features.hdf5"} for name in entries}
    (out / "catalog.yaml").write_text(json.dumps(catalog))  # json is yaml


def train(out: Path, part: float, start: str, epochs: int) -> list[float]:
    """R@1,IoU@0.5 on the test split, in percent, before the first epoch and after each evaluated one."""
    folder = out / f"{start.split()[0]}_{part:g}"
    options = {
        "DATASETS.ROOT": str(out),
        "DATASETS.TRAIN": f"('few_{part:g}',)",
        "DATASETS.VAL": "('few_test',)",
        "DATASETS.TEST": "('few_test',)",
        "PATHS_CATALOG": str(out / "catalog.yaml"),
        "MODEL.MMN.TEXT_ENCODER.PRETRAINED": str(out / "text_encoder"),
        "MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS": 0,  # few sentences hold few of the words that the test asks for
        "SOLVER.MAX_EPOCH": epochs,
        "SOLVER.ONLY_IOU": epochs,
        "SOLVER.MILESTONES": f"({round(epochs * 0.75)},)",
        "SOLVER.TEST_PERIOD": max(1, epochs // EVALUATIONS),
        "SOLVER.CHECKPOINT_PERIOD": epochs,
        "TEST.BATCH_SIZE": 256,
    }
    words = [str(word) for pair in options.items() for word in pair] + SPACE + STARTS[start]
    before = run("test", [*words, "OUTPUT_DIR", str(folder / "untrained")])
    run("train", [*words, "OUTPUT_DIR", str(folder)])
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [before, *(100 * row["R@1,IoU@0.5"] for row in rows if "R@1,IoU@0.5" in row)]


def run(command: str, words: list[str]) -> float:
    """A training; or one of no epoch, and its test's R@1,IoU@0.5 in percent."""
    if command == "test":
        words = [*words, "SOLVER.MAX_EPOCH", "0", "SOLVER.MILESTONES", "()"]
    config = ["--config-file", "ablation_charades_simulated"]
    done = subprocess.run([sys.executable, "-m", "mmn", "train", *config, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    cells = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines() if "|" in line]
    return next(
        float(cells[row + 1][line.index("R@1,IoU@0.5")]) for row, line in enumerate(cells) if "R@1,IoU@0.5" in line
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--noise", type=float, default=8.0)
    parser.add_argument("--parts", nargs="+", type=float, default=[1.0, 0.1, 0.01])
    parser.add_argument("--epochs", nargs="+", type=int, default=[2, 8, 16], help="one for each part")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    write_dataset(args.annotations, args.out, args.noise, args.parts)
    print("| annotations | start | R@1,IoU@0.5 before and after some epochs |\n|---|---|---|", flush=True)
    for part, epochs in zip(args.parts, args.epochs, strict=True):
        for start in STARTS:
            curve = ", ".join(f"{value:.1f}" for value in train(args.out, part, start, epochs))
            print(f"| {part:g} | {start} | {curve} |", flush=True)


if __name__ == "__main__":
    main()
