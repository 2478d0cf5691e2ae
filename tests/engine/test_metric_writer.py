"""metrics.jsonl, log.txt and progress."""

import json
import logging

import pytest

from mmn.engine.metric_writer import MetricWriter, Progress
from mmn.utils.errors import UserError
from mmn.utils.logger import get_logger, setup_logger


@pytest.fixture(autouse=True)
def restore_logger():
    logger = get_logger()
    state = logger.propagate, logger.level, list(logger.handlers)
    yield
    for handler in logger.handlers:
        handler.close()
    logger.propagate, logger.level, logger.handlers[:] = *state[:2], state[2]


def write_epochs(folder, first, last, loss):
    writer = MetricWriter(str(folder), first)
    for epoch in range(first, last + 1):
        writer.write("train", epoch, 10 * epoch, {"loss": loss})
    writer.close()


def read_rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_row_holds_kind_epoch_step_and_values(tmp_path):
    write_epochs(tmp_path, 1, 1, 0.5)
    assert read_rows(tmp_path) == [{"kind": "train", "epoch": 1, "step": 10, "loss": 0.5}]


def test_resuming_drops_the_rows_of_later_epochs(tmp_path):
    write_epochs(tmp_path, 1, 4, 0.5)
    write_epochs(tmp_path, 3, 5, 0.25)
    rows = [(row["epoch"], row["loss"]) for row in read_rows(tmp_path)]
    assert rows == [(1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25), (5, 0.25)]


def test_a_new_run_starts_an_empty_file(tmp_path):
    write_epochs(tmp_path, 1, 4, 0.5)
    write_epochs(tmp_path, 1, 1, 0.25)
    assert [row["loss"] for row in read_rows(tmp_path)] == [0.25]


def test_a_row_cut_off_by_a_crash_is_dropped(tmp_path):
    write_epochs(tmp_path, 1, 2, 0.5)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "epo')
    write_epochs(tmp_path, 3, 3, 0.25)
    assert [row["epoch"] for row in read_rows(tmp_path)] == [1, 2, 3]


def test_rows_beyond_the_step_are_dropped_inside_an_epoch(tmp_path):
    writer = MetricWriter(str(tmp_path))
    for step in (2, 4, 6):
        writer.write("train", 1, step, {"loss": 0.5})
    writer.close()
    MetricWriter(str(tmp_path), first_epoch=1, first_step=4).close()
    assert [row["step"] for row in read_rows(tmp_path)] == [2, 4]


@pytest.mark.parametrize("damage", ["\0\0\0\n", "[]\n", '{"kind": 3}\n', "\udcff\n"])
def test_damaged_row_is_dropped(tmp_path, damage):
    write_epochs(tmp_path, 1, 1, 0.5)
    with open(tmp_path / "metrics.jsonl", "a", errors="surrogateescape") as file:
        file.write(damage)
    write_epochs(tmp_path, 2, 2, 0.5)
    assert [row["epoch"] for row in read_rows(tmp_path)] == [1, 2]


def test_full_disk_is_a_sentence(tmp_path):
    writer = MetricWriter(str(tmp_path))
    writer.path = "/dev/full"
    with pytest.raises(UserError, match="/dev/full cannot be written.*SOLVER.RESUME True"):
        writer.write("train", 1, 1, {"loss": 0.5})
    writer.close()


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = MetricWriter(None)
    writer.write("train", 1, 1, {"loss": 0.5})
    writer.close()
    assert not list(tmp_path.iterdir())


def test_scalars_go_to_tensorboard(tmp_path):
    write_epochs(tmp_path, 1, 1, 0.5)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_log_goes_to_a_file_that_grows(tmp_path):
    for text in ("first", "second"):
        setup_logger(str(tmp_path), rank=0).info(text)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["first", "second"]


def test_other_ranks_log_warnings_with_their_rank(tmp_path, capsys):
    logger = setup_logger(str(tmp_path), rank=1)
    logger.info("quiet")
    logger.warning("loud")
    assert not (tmp_path / "log.txt").exists()
    text = capsys.readouterr().err
    assert "quiet" not in text
    assert "[rank 1] W loud" in text


def test_progress_without_a_terminal_is_lines_in_the_log(tmp_path):
    logger = setup_logger(str(tmp_path), rank=0)
    progress = Progress(first_step=0, num_steps=100, enabled=True)
    progress.advance()
    progress.report(50, 2, {"loss": 0.12345, "lr": 0.001})
    progress.close()
    text = (tmp_path / "log.txt").read_text()
    assert "epoch 2  step 50/100  eta 00:00:00" in text
    assert "loss 0.1235" in text or "loss 0.1234" in text
    assert logger.level == logging.INFO


def test_lines_of_the_log_come_by_time_and_at_the_end(tmp_path, monkeypatch):
    now = iter([0, 0, 4, 9, 11, 12])
    monkeypatch.setattr("mmn.engine.metric_writer.time.perf_counter", lambda: next(now))
    setup_logger(str(tmp_path), rank=0)
    progress = Progress(first_step=0, num_steps=100, enabled=True)
    for step in (20, 40, 60, 80, 100):
        progress.report(step, 1, {"loss": 1.0})
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split("step ")[1].split("/")[0] for line in lines] == ["20", "80", "100"]
