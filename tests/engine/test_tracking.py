"""Experiment tracking: MLflow with its store in local files, and services that fail."""

import logging
import threading

import pytest

from mmn.engine.metric_writer import MetricWriter
from mmn.engine.tracking import TRACKERS, Tracker, build_tracker
from mmn.utils.errors import UserError
from mmn.utils.logger import NAME


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of an MLflow store in local files, which trackers then use too."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv(
        "MLFLOW_ALLOW_FILE_STORE", "true"
    )  # newer versions want the user to know that databases are better
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/store")
    return mlflow.MlflowClient(f"file:{tmp_path}/store")


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger(NAME), "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def tracked_runs(client):
    return client.search_runs([client.get_experiment_by_name("mmn").experiment_id])


def train(folder, first_step=0, continues=False, is_complete=True, parameters=None):
    tracker = build_tracker("mlflow", str(folder), parameters or {"SOLVER.LR": 0.1}, continues)
    writer = MetricWriter(str(folder), 1, first_step, tracker)
    writer.write("train", 1, first_step + 1, {"loss": 0.5})
    writer.write("eval/test", 1, first_step + 1, {"R@1,IoU@0.5": 0.25})
    writer.close(is_complete)


def test_values_and_config_reach_mlflow(client, tmp_path):
    train(tmp_path / "my_run")
    (run,) = tracked_runs(client)
    assert run.info.run_name == "my_run"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"SOLVER.LR": "0.1"}
    assert run.data.metrics == {"train/loss": 0.5, "eval/test/R_1_IoU_0.5": 0.25}


def test_more_parameters_than_a_call_takes(client, tmp_path):
    train(tmp_path / "run", parameters={f"KEY_{number}": number for number in range(250)})
    assert len(tracked_runs(client)[0].data.params) == 250


def test_training_that_goes_on_goes_on_in_the_same_tracked_run(client, tmp_path):
    train(tmp_path / "run", is_complete=False)
    (run,) = tracked_runs(client)
    assert run.info.status == "KILLED"
    train(tmp_path / "run", first_step=1, continues=True)
    (run,) = tracked_runs(client)
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]


def test_training_from_scratch_in_the_same_folder_is_a_new_tracked_run(client, tmp_path):
    train(tmp_path / "run")
    train(tmp_path / "run")
    assert len(tracked_runs(client)) == 2


class BrokenService:
    package = "json"  # always installed

    def __init__(self, failing):
        self.failing, self.calls = failing, []

    def start(self, run_id, name, parameters):
        self._call("start")
        return "1"

    def log(self, values, step):
        self._call("log")

    def finish(self, is_complete):
        self._call("finish")

    def _call(self, name):
        self.calls.append(name)
        if name == self.failing:
            raise ConnectionError("no route\nto host")


@pytest.mark.parametrize("failing, calls", [("start", 1), ("log", 2), ("finish", 4)])
def test_failure_is_one_warning_and_no_further_call(tmp_path, warnings, failing, calls):
    service = BrokenService(failing)
    tracker = Tracker(service, str(tmp_path), {}, continues=False)
    tracker.log({"a": 1.0}, 1)
    tracker.log({"a": 1.0}, 2)
    tracker.close(is_complete=True)
    (warning,) = warnings()
    assert "no route to host" in warning
    assert len(service.calls) == calls


def test_service_that_does_not_answer_holds_nothing_up(tmp_path, warnings, monkeypatch):
    monkeypatch.setattr("mmn.engine.tracking.PATIENCE", 0.05)
    answer, service = threading.Event(), BrokenService(None)
    service.start = lambda *arguments: answer.wait() and "1"
    tracker = Tracker(service, str(tmp_path), {}, continues=False)
    tracker.log({"a": 1.0}, 1)
    tracker.close(is_complete=True)
    answer.set()
    tracker.thread.join()
    assert "dropped" in warnings()[0]


def test_service_that_is_not_installed_is_a_sentence_before_training(tmp_path):
    service = BrokenService(None)
    service.package = "no_such_package"
    with pytest.raises(UserError, match=r"no_such_package.*pip install \.\[no_such_package\]"):
        Tracker(service, str(tmp_path), {}, continues=False)


def test_no_tracker_by_default(tmp_path, tiny_cfg):
    assert build_tracker(tiny_cfg.SOLVER.TRACKER, str(tmp_path), {}, continues=False) is None
    assert "mlflow" in TRACKERS.entries
