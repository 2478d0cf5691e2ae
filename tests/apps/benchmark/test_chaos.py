"""Runs that are killed from outside, as a cluster or a failing machine does it; tools/chaos.py does it for longer."""

import os
import signal
import time

import pytest
import torch
from processes import launch, start_ranks, start_tool
from tiny import ROOT, SYNTHETIC_CONFIG, tiny_options

from mmn.apps.benchmark import chaos
from mmn.apps.benchmark.chaos import ChaosRun, differing, run_chaos

LAST = "pool_model_last.pth"


def options_of_a_run(dataset_root, folder, *options):
    """Of four epochs of three or, on two processes, two iterations."""
    values = {"MAX_EPOCH": 4, "CHECKPOINT_PERIOD": 2, "CHECKPOINT_ITERS": 1, "LOG_PERIOD": 2}
    pairs = [str(part) for key, value in values.items() for part in (f"SOLVER.{key}", value)]
    return ["--config-file", SYNTHETIC_CONFIG, "--skip-test", *tiny_options(dataset_root, folder), *pairs, *options]


class ForkedRun(ChaosRun):
    """A run whose first process does not import everything anew: the training, or the launcher of several."""

    def start(self):
        several = ["tools/launch.py", "--processes", self.num_processes]
        command = [*(several if self.num_processes > 1 else ()), "tools/train_net.py", *self.arguments]
        command += ["OUTPUT_DIR", self.folder, "SOLVER.RESUME", "True"]
        return start_tool(command, self.folder.parent / f"{self.folder.name}.txt")


def test_killed_runs_end_as_the_undisturbed_one(dataset_root, tmp_path, monkeypatch):
    monkeypatch.setattr(chaos, "STARTUP_SHARE", 0)

    def make_run(folder):
        return ForkedRun(options_of_a_run(dataset_root, folder), 1, folder, 4, "pool")

    report = run_chaos(make_run, tmp_path / "runs", 2, 2, seed=1, log=lambda line: None)
    assert len(report.kills) == 2
    assert report.differences == []


def test_two_processes_that_were_stopped_go_on_as_if_they_had_not_been(dataset_root, tmp_path):
    folder, output, results = tmp_path / "stopped", tmp_path / "output.txt", []
    endless = options_of_a_run(dataset_root, folder, "SOLVER.RESUME", "True", "SOLVER.MAX_EPOCH", "10000")
    for number in (signal.SIGKILL, signal.SIGUSR1):
        ranks = start_ranks(2, ["tools/train_net.py", *endless], output)
        wait_for_a_checkpoint(folder, ranks[0], output)
        for rank in ranks if number == signal.SIGKILL else ranks[1:]:
            rank.send_signal(number)
        assert {rank.wait(60) for rank in ranks} == {-number if number == signal.SIGKILL else 75}
    assert "stopped the run after epoch" in output.read_text()
    last_epoch = torch.load(folder / LAST, weights_only=True)["epoch"] + 2
    for place in (folder, tmp_path / "whole"):
        options = options_of_a_run(dataset_root, place, "SOLVER.RESUME", "True", "SOLVER.MAX_EPOCH", last_epoch)
        done = launch(2, "train_net.py", *options)
        assert done.returncode == 0, done.stderr
        results.append(ChaosRun(options, 2, place, last_epoch, "pool").result())
    assert list(differing(*results)) == []


def wait_for_a_checkpoint(folder, process, output):
    """Until another one than that of an earlier start is there."""
    before = time_of_checkpoint(folder)
    while time_of_checkpoint(folder) == before:
        assert process.poll() is None, output.read_text()
        time.sleep(0.02)


def time_of_checkpoint(folder):
    return (folder / LAST).stat().st_mtime_ns if (folder / LAST).exists() else None


# ---- The launcher ----------------------------------------------------------------------------------------------------

WAITING = """
import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
open(os.path.join(sys.argv[-1], os.environ["RANK"]), "w").write("ready")
time.sleep(60)
"""


@pytest.fixture
def waiting(tmp_path):
    """(launcher of two processes that wait, its ranks, the file of its output)."""
    (tmp_path / "waiting.py").write_text(WAITING)
    arguments = [tmp_path / "waiting.py", "--config-file", SYNTHETIC_CONFIG, "OUTPUT_DIR", tmp_path]
    launcher = start_tool(["tools/launch.py", "--processes", "2", *arguments], tmp_path / "output.txt")
    while not all((tmp_path / rank).exists() for rank in "01"):
        assert launcher.poll() is None, (tmp_path / "output.txt").read_text()
        time.sleep(0.02)
    return launcher, chaos._ranks(launcher.pid), tmp_path / "output.txt"


def test_dead_rank_ends_the_run_within_seconds_and_says_how_to_go_on(waiting):
    launcher, ranks, output = waiting
    os.kill(ranks[1], signal.SIGKILL)
    began = time.monotonic()
    assert launcher.wait(timeout=60) == 128 + signal.SIGKILL
    assert time.monotonic() - began < 20
    last = output.read_text().strip().splitlines()[-1]
    assert last.startswith("error: process 1 was killed by SIGKILL")
    assert "SOLVER.RESUME True" in last


def test_launcher_passes_a_signal_on_and_ends_with_the_documented_code(waiting):
    launcher, ranks, output = waiting
    launcher.send_signal(signal.SIGUSR1)
    assert launcher.wait(timeout=60) == 75
    assert "stopped by SIGUSR1" in output.read_text()
    assert not any(os.path.exists(f"/proc/{rank}") for rank in ranks)


def test_killed_launcher_leaves_no_process_behind(dataset_root, tmp_path):
    """With the training itself, whose processes are to see to that."""
    options = options_of_a_run(dataset_root, tmp_path / "run", "SOLVER.MAX_EPOCH", "10000")
    launcher = ForkedRun(options, 2, tmp_path / "run", 10000, "pool").start()
    wait_for_a_checkpoint(tmp_path / "run", launcher, tmp_path / "run.txt")
    ranks = chaos._ranks(launcher.pid)
    launcher.kill()
    launcher.wait()
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
    launcher = tmp_path / "launcher.py"
    launcher.write_text("from mmn.engine.launch import _torchrun; import sys; _torchrun(sys.argv[1:])")
    command = [launcher, "--standalone", "--nproc_per_node", "2", tool]
    assert start_tool(command, tmp_path / "output.txt").wait(timeout=60) == 1
    last = (tmp_path / "output.txt").read_text().strip().splitlines()[-1]
    assert last.endswith("ZeroDivisionError: the cause")  # "[rank1]: " before it


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
