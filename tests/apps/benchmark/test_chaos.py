"""Runs that are killed from outside, as a cluster or a failing machine does it; tools/chaos.py does it for longer."""

import os
import signal
import time

import pytest
import torch
from tiny import ROOT, SYNTHETIC_CONFIG, run_python, tiny_options

from mmn.apps.benchmark import chaos
from mmn.apps.benchmark.chaos import ChaosRun, differing, run_chaos


@pytest.fixture
def make_run(dataset_root, monkeypatch):
    """num_processes -> (OUTPUT_DIR -> run) of four epochs of three or two iterations."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def of(num_processes, *options):
        def make(folder):
            values = {"MAX_EPOCH": 4, "CHECKPOINT_PERIOD": 2, "CHECKPOINT_ITERS": 1, "LOG_PERIOD": 2}
            pairs = [str(part) for key, value in values.items() for part in (f"SOLVER.{key}", value)]
            arguments = ["--config-file", SYNTHETIC_CONFIG, "--skip-test", *tiny_options(dataset_root, folder), *pairs]
            return ChaosRun([*arguments, *options], num_processes, folder, 4, "pool")

        return make

    return of


@pytest.mark.parametrize("num_processes, num_kills", [(1, 1), (2, 2)])
def test_killed_runs_end_as_the_undisturbed_one(make_run, tmp_path, monkeypatch, num_processes, num_kills):
    monkeypatch.setattr(chaos, "STARTUP_SHARE", 0)
    report = run_chaos(make_run(num_processes), tmp_path / "runs", num_kills, num_kills, seed=1, log=lambda line: None)
    assert len(report.kills) == num_kills
    assert report.differences == []


def start(make_run, folder, *options):
    run = make_run(2, "SOLVER.MAX_EPOCH", "10000", *options)(folder)
    process = run.start()
    while not (folder / "pool_model_last.pth").exists():  # as soon as the first iteration is done
        assert process.poll() is None
        time.sleep(0.05)
    return run, process, lambda: (folder.parent / f"{folder.name}.txt").read_text()


def test_dead_rank_ends_the_run_within_seconds_and_says_how_to_go_on(make_run, tmp_path):
    _, process, output = start(make_run, tmp_path / "run")
    os.kill(chaos._ranks(process.pid)[1], signal.SIGKILL)
    began = time.monotonic()
    assert process.wait(timeout=60) == 128 + signal.SIGKILL
    assert time.monotonic() - began < 20
    last = output().strip().splitlines()[-1]
    assert last.startswith("error: process 1 was killed by SIGKILL")
    assert "SOLVER.RESUME True" in last


def test_launcher_passes_a_signal_on_and_ends_with_the_documented_code(make_run, tmp_path):
    run, process, output = start(make_run, tmp_path / "run")
    ranks = chaos._ranks(process.pid)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75
    assert "SIGUSR1 stopped the run after" in output()
    assert not any(os.path.exists(f"/proc/{rank}") for rank in ranks)
    state = torch.load(run.folder / "pool_model_last.pth", weights_only=True)
    assert (state["epoch"], state["iteration"]) > (0, 0)


def test_killed_launcher_leaves_no_process_behind(make_run, tmp_path):
    _, process, _ = start(make_run, tmp_path / "run")
    ranks = chaos._ranks(process.pid)
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
