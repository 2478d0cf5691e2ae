"""Running steps side by side, with small programs in the place of the tools."""

import signal
import sys
import time
from pathlib import Path

import pytest
from processes import Fork

from mmn.apps.ablation.run_queue import CONSOLE_FILE, Run, Step, run_all, share_environments
from mmn.utils.cli import run_tool


def step(folder, name, code="", product=None, fingerprint="1"):
    """A step that writes its name into `order` and `product`, then runs `code`."""
    product = folder / (product or name)
    text = f"import os, sys; open(r'{folder.parent}/order', 'a').write('{folder.name} {name}\\n')\n{code}\n"
    text += f"open(r'{product}', 'w').write(os.environ.get('PLACE', ''))"
    return Step(name, (sys.executable, "-S", "-c", text), (product,), fingerprint)


def make_run(folder, training="", test="", **options):
    return Run(folder.name, folder, step(folder, "train", training, **options), [step(folder, "test", test, **options)])


def order(folder):
    return (folder / "order").read_text().splitlines() if (folder / "order").exists() else []


def run(runs, places=1):
    lines = []
    return run_all(runs, [{"PLACE": str(place)} for place in range(places)], lines.append), lines


def test_training_comes_before_its_tests(tmp_path):
    failures, _ = run([make_run(tmp_path / "a"), make_run(tmp_path / "b")])
    assert not failures
    assert order(tmp_path) == ["a train", "a test", "b train", "b test"]


def test_runs_side_by_side_get_different_places(tmp_path):
    wait = f"import time\nwhile len(open(r'{tmp_path}/order').read().split()) < 4: time.sleep(0.01)"
    run([make_run(tmp_path / "a", wait), make_run(tmp_path / "b", wait)], places=2)
    assert {(tmp_path / name / "train").read_text() for name in "ab"} == {"0", "1"}


def test_finished_runs_are_skipped(tmp_path):
    run([make_run(tmp_path / "a")])
    _, lines = run([make_run(tmp_path / "a"), make_run(tmp_path / "b")])
    assert order(tmp_path) == ["a train", "a test", "b train", "b test"]
    assert lines[0] == "1 of 2 runs are finished already"


def test_another_config_makes_the_steps_be_done_again(tmp_path):
    run([make_run(tmp_path / "a")])
    run([make_run(tmp_path / "a", fingerprint="2")])
    assert order(tmp_path) == ["a train", "a test"] * 2


def test_lost_predictions_are_made_again_without_training(tmp_path):
    run([make_run(tmp_path / "a")])
    (tmp_path / "a" / "test").unlink()
    run([make_run(tmp_path / "a")])
    assert order(tmp_path) == ["a train", "a test", "a test"]


def test_checkpoints_that_nobody_needs_may_be_deleted(tmp_path):
    run([make_run(tmp_path / "a")])
    (tmp_path / "a" / "train").unlink()
    run([make_run(tmp_path / "a")])
    assert order(tmp_path) == ["a train", "a test"]


def test_failing_run_is_named_with_its_last_words_and_stops_no_other(tmp_path):
    failures, lines = run([make_run(tmp_path / "a", "sys.exit('error: no such file')"), make_run(tmp_path / "b")])
    assert [(failure.run.label, failure.words) for failure in failures] == [("a", "train: error: no such file")]
    assert order(tmp_path) == ["a train", "b train", "b test"]
    assert "FAILED" in lines[0]


def test_failed_run_is_tried_again(tmp_path):
    run([make_run(tmp_path / "a", test="sys.exit(1)")])
    failures, _ = run([make_run(tmp_path / "a")])
    assert not failures
    assert order(tmp_path) == ["a train", "a test", "a test"]


@pytest.mark.parametrize(
    "code, words",
    [
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("sys.exit(75)", "stopped by a signal"),
        ("os._exit(0)", "ended without train"),
    ],
)
def test_other_ends_are_failures_too(tmp_path, code, words):
    failures, _ = run([make_run(tmp_path / "a", code)])
    assert words in failures[0].words


def test_seconds_of_all_attempts_add_up(tmp_path):
    run([make_run(tmp_path / "a", "import time; time.sleep(0.2); sys.exit(1)")])
    finished = make_run(tmp_path / "a", "import time; time.sleep(0.2)")
    run([finished])
    assert finished.seconds("train") >= 0.4


def test_spoiled_state_makes_the_steps_be_done_again(tmp_path):
    run([make_run(tmp_path / "a")])
    (tmp_path / "a" / "ablation.json").write_text("{")
    run([make_run(tmp_path / "a")])
    assert order(tmp_path) == ["a train", "a test"] * 2


def run_one(folder, training):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background, it is ignored
    run_tool(lambda: run_all([make_run(folder / "a", training)], [{}], print))


SAVING = """
import signal, time
def stop(number, frame):
    open(r'FOLDER/saved', 'w').write('')
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
open(r'FOLDER/pid', 'w').write(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.parametrize(
    "number, code, saves",
    [(signal.SIGINT, 130, True), (signal.SIGTERM, 75, True), (signal.SIGKILL, -9, False)],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_end_of_the_sweep_ends_its_processes(tmp_path, number, code, saves):
    training = SAVING.replace("FOLDER", str(tmp_path))
    sweep = Fork(run_one, tmp_path, training)
    deadline = time.monotonic() + 60
    while not ((pid := tmp_path / "pid").exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    sweep.send_signal(number)
    assert sweep.wait(60) == code
    while is_alive(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(int(pid.read_text()))
    assert (tmp_path / "saved").exists() == saves


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_console_keeps_what_all_attempts_printed(tmp_path):
    run([make_run(tmp_path / "a", "print('one'); sys.exit(1)")])
    run([make_run(tmp_path / "a", "print('two')")])
    assert (tmp_path / "a" / CONSOLE_FILE).read_text().split() == ["one", "two"]


def test_cores_are_split_between_jobs(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("mmn.apps.ablation.run_queue.num_processors", lambda: 8)
    assert share_environments("cpu", 3) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert share_environments("cpu", 0) == [{"OMP_NUM_THREADS": "8"}]


def test_threads_that_the_user_asks_for_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert share_environments("cpu", 2) == [{}, {}]


def test_each_job_sees_one_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [env["CUDA_VISIBLE_DEVICES"] for env in share_environments("cuda", 0)] == ["3", "5"]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in share_environments("cuda", 3)] == ["3", "5", "3"]
