"""What the scripts hand on to the tools."""

import os
import subprocess

import pytest
from tiny import ROOT

from mmn.config import load_config


def handed_on(script, *arguments, **values):
    """The words that a script starts Python with, its values set from the environment."""
    command = ["bash", str(ROOT / "scripts" / script), *arguments]
    environment = {**os.environ, "PYTHON": "echo", **values}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def after(flag, words):
    """The word that follows a flag."""
    return words[words.index(flag) + 1]


def test_eval_hands_its_arguments_on_as_they_are_and_its_values_as_defaults():
    given = ["--sweep", "TEST.SCORE=iou,product", "--sweep-out", "R.CSV", "MODEL.DEVICE", "cpu"]
    words = handed_on("eval.sh", *given, config="a.yaml", output_dir="out", weight_file="w.pth", batch_size="8")
    defaults = ["--default", "OUTPUT_DIR", "out", "--default", "TEST.BATCH_SIZE", "8"]
    wanted = [*defaults, "tools/test_net.py", "--config-file", "a.yaml", "--ckpt", "w.pth", *given]
    assert words[words.index("--default") :] == wanted


@pytest.mark.parametrize(
    ("dataset", "name", "processes"),
    [("tacos", "tacos", 4), ("anet", "activitynet", 4), ("charades", "charades", 2), ("stvg", "stvg", 2)],
)
def test_train_script_has_the_config_and_the_processes_of_its_dataset(dataset, name, processes):
    words = handed_on(f"{dataset}_train.sh")
    assert name == load_config(str(ROOT / after("--config-file", words))).DATASETS.NAME
    assert after("--processes", words) == str(processes)
    assert after("OUTPUT_DIR", words).startswith(f"outputs/pool_{name}_")


def test_train_script_takes_values_from_the_environment():
    words = handed_on("tacos_train.sh", config="configs/a.yaml", gpun="3", master_port="5", nnodes="2", node_rank="1")
    flags = ("--config-file", "--processes", "--master-port", "--nodes", "--node-rank", "OUTPUT_DIR")
    assert [after(flag, words) for flag in flags] == ["configs/a.yaml", "3", "5", "2", "1", "outputs/a"]


def test_train_hands_its_arguments_on_as_they_are_and_its_folder_as_a_default():
    words = handed_on("train.sh", "--skip-test", "SOLVER.LR", "1", config="a.yaml")
    wanted = [
        "OUTPUT_DIR",
        "outputs/a",
        "tools/train_net.py",
        "--config-file",
        "a.yaml",
        "--skip-test",
        "SOLVER.LR",
        "1",
    ]
    assert words[words.index("--default") + 1 :] == wanted


def test_train_without_a_config_is_a_sentence():
    done = subprocess.run(["bash", str(ROOT / "scripts" / "train.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: name the config")
