"""Runs that are killed from outside, as a cluster or a failing machine does it; tools/chaos.py does it for longer."""

import os
import signal
import time

import pytest
import torch
from processes import launch, run_python, start_tool
from tiny import ROOT, SYNTHETIC_CONFIG, tiny_options

from mmn.apps.benchmark import chaos
from mmn.apps.benchmark.chaos import ChaosRun, differing, run_chaos


def options_of_a_run(dataset_root, folder, *options):
    """Of four epochs of three or, on two processes, two iterations."""
    values = {"MAX_EPOCH": 4, "CHECKPOINT_PERIOD": 2, "CHECKPOINT_ITERS": 1, "LOG_PERIOD": 2}
    pairs = [str(part) for key, value in values.items() for part in (f"SOLVER.{key}", value)]
    return ["--config-file", SYNTHETIC_CONFIG, "--skip-test", *tiny_options(dataset_root, folder), *pairs, *options]


class ForkedRun(ChaosRun):
    """A run that does not import everything anew."""

    def start(self):
        assert self.num_processes == 1
        command = ["tools/train_net.py", *self.arguments, "OUTPUT_DIR", self.folder, "SOLVER.RESUME", "True"]
        return start_tool(command, self.folder.parent / f"{self.folder.name}.txt")


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_runs_end_as_the_undisturbed_one(dataset_root, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(chaos, "STARTUP_SHARE", 0)

    def make_run(folder):
        return ForkedRun(options_of_a_run(dataset_root, folder), 1, folder, 4, "pool")

    report = run_chaos(make_run, tmp_path / "runs", 2, 2, seed, log=lambda line: None)
    assert len(report.kills) == 2
    assert report.differences == []


# ---- The launcher ----------------------------------------------------------------------------------------------------


class LaunchedRun(ChaosRun):
    """A run of two processes whose launcher alone does not import everything anew."""

    @property
    def output(self):
        return self.folder.parent / f"{self.folder.name}.txt"

    def start(self):
        command = ["tools/launch.py", "--processes", 2, "tools/train_net.py", *self.arguments]
        return start_tool([*command, "OUTPUT_DIR", self.folder, "SOLVER.RESUME", "True"], self.output)

    @property
    def checkpoint(self):
        return self.folder / "pool_model_last.pth"

    def start_training(self):
        """The launcher and its two processes, as soon as they have written a checkpoint."""
        before = self.time_of_checkpoint()
        process = self.start()
        while self.time_of_checkpoint() == before:
            assert process.poll() is None, self.output.read_text()
            time.sleep(0.05)
        return process, chaos._ranks(process.pid)

    def time_of_checkpoint(self):
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else None


def test_run_of_two_processes_ends_as_told_however_it_is_killed_and_goes_on(dataset_root, tmp_path):
    """One run, killed in three ways one after the other, since its processes take seconds to start."""
    endless = options_of_a_run(dataset_root, tmp_path / "killed", "SOLVER.MAX_EPOCH", "10000")
    run = LaunchedRun(endless, 2, tmp_path / "killed", 4, "pool")
    assert_dead_rank_ends_the_run_within_seconds_and_says_how_to_go_on(run)
    assert_launcher_passes_a_signal_on_and_ends_with_the_documented_code(run)
    assert_killed_launcher_leaves_no_process_behind(run)
    last_epoch = torch.load(run.checkpoint, weights_only=True)["epoch"] + 2
    results = []
    for folder in (run.folder, tmp_path / "whole"):
        options = options_of_a_run(dataset_root, folder, "SOLVER.MAX_EPOCH", last_epoch, "SOLVER.RESUME", "True")
        done = launch(2, "train_net.py", *options)
        assert done.returncode == 0, done.stderr
        results.append(ChaosRun(options, 2, folder, last_epoch, "pool").result())
    assert list(differing(*results)) == []


def assert_dead_rank_ends_the_run_within_seconds_and_says_how_to_go_on(run):
    process, ranks = run.start_training()
    os.kill(ranks[1], signal.SIGKILL)
    began = time.monotonic()
    assert process.wait(timeout=60) == 128 + signal.SIGKILL
    assert time.monotonic() - began < 20
    last = run.output.read_text().strip().splitlines()[-1]
    assert last.startswith("error: process 1 was killed by SIGKILL")
    assert "SOLVER.RESUME True" in last


def assert_launcher_passes_a_signal_on_and_ends_with_the_documented_code(run):
    process, ranks = run.start_training()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75
    assert "SIGUSR1 stopped the run after" in run.output.read_text()
    assert not any(os.path.exists(f"/proc/{rank}") for rank in ranks)
    state = torch.load(run.checkpoint, weights_only=True)
    assert (state["epoch"], state["iteration"]) > (0, 0)


def assert_killed_launcher_leaves_no_process_behind(run):
    process, ranks = run.start_training()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(is_running(rank) for rank in ranks):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


FAILING_RANK = """
import sys
sys.path.insert(0, {root!r})
import torch
from mmn.utils import comm
from mmn.utils.cli import run_tool

def main():
    comm.init_process_group(torch.device("cpu"), 1)
    comm.barrier()
    if comm.get_rank() == 1:
        raise ZeroDivisionError("the cause")
    comm.barrier()

run_tool(main)
"""


def test_original_traceback_is_the_last_word_of_a_run_that_fails_on_one_rank(tmp_path):
    tool = tmp_path / "tool.py"
    tool.write_text(FAILING_RANK.format(root=str(ROOT)))
    launch = "from mmn.engine.launch import _torchrun; import sys; _torchrun(sys.argv[1:])"
    done = run_python("-c", launch, "--standalone", "--nproc_per_node", "2", tool)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("ZeroDivisionError: the cause")  # "[rank1]: " before it


@pytest.mark.parametrize(
    "one, other, where",
    [
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}, []),
        ({"a": [torch.ones(2), 1]}, {"a": [torch.zeros(2), 1]}, ["/a/0"]),
        ({"a": 1}, {"b": 1}, [": names"]),
        ([1, 2], [1], [": 2 instead of 1"]),
        ({"a": 1}, {"a": 1.0}, ["/a"]),
    ],
)
def test_differences_are_named_by_their_place(one, other, where):
    assert list(differing(one, other)) == where
