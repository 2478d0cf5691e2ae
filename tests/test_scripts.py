"""What the scripts hand on to the tools."""

import os
import subprocess

import pytest
from tiny import ROOT


@pytest.mark.parametrize(
    ("given", "flags", "pairs"),
    [
        ("", "", ""),
        ("MODEL.DEVICE cpu", "", "MODEL.DEVICE cpu"),
        ("--dump found.jsonl MODEL.DEVICE cpu", "--dump found.jsonl", "MODEL.DEVICE cpu"),
        ("--partial MODEL.DEVICE cpu", "--partial", "MODEL.DEVICE cpu"),
        (
            "--sweep TEST.SCORE=iou,product TEST.NMS_THRESH=0.4,0.5 --sweep-out scores.csv MODEL.DEVICE cpu",
            "--sweep TEST.SCORE=iou,product TEST.NMS_THRESH=0.4,0.5 --sweep-out scores.csv",
            "MODEL.DEVICE cpu",
        ),
    ],
)
def test_eval_puts_its_values_between_flags_and_pairs(given, flags, pairs):
    command = ["bash", str(ROOT / "scripts" / "eval.sh"), *given.split()]
    environment = {**os.environ, "PYTHON": "echo", "config": "a.yaml", "output_dir": "out"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    _, _, words = done.stdout.partition("--config-file ")
    assert words.split() == ["a.yaml", *flags.split(), "OUTPUT_DIR", "out", *pairs.split()]
