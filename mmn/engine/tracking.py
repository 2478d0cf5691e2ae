"""Experiment tracking by an outside service, beside metrics.jsonl and TensorBoard. Off by default; rank 0 only.

A tracker is a guest of the run: its calls are made by a thread of its own, so that a server that does not answer holds
nothing up, and after the first that fails there is one warning and no further call.
"""

import importlib.util
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path
from mmn.utils.logger import get_logger
from mmn.utils.registry import Registry

RUN_FILE = "tracked_run"  # in OUTPUT_DIR: the tracker's name and the id of its run, for a training that goes on
PATIENCE = 30.0  # seconds that the end of a training waits for values that are still under way
TRACKERS = Registry("SOLVER.TRACKER")


class Service(Protocol):
    """Tracking service, as a run uses it. All calls come from one thread, and each may raise anything."""

    package: str  # what must be installed

    def start(self, run_id: str | None, name: str, parameters: Mapping[str, object]) -> str:
        """Begin a run, or go on with `run_id`; returns its id."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add values of iteration `step`."""

    def finish(self, is_complete: bool) -> None:
        """End the run; one that is not complete will go on later."""


@TRACKERS.register("mlflow")
class MlflowService:
    """MLflow. Where it keeps its runs, and under which experiment (default "mmn"), MLflow's own variables say:
    MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME. Without the first, mlflow-skinny asks for a database that it lacks."""

    package = "mlflow"
    most_parameters = 100  # that one call takes

    def start(self, run_id: str | None, name: str, parameters: Mapping[str, object]) -> str:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient()
        if run_id is not None:
            self.client.update_run(run_id, status="RUNNING")
            self.run_id = run_id
            return run_id
        self.run_id = self.client.create_run(self._experiment_id(), run_name=name).info.run_id
        pairs = [Param(key, str(value)) for key, value in parameters.items()]
        for first in range(0, len(pairs), self.most_parameters):
            self.client.log_batch(self.run_id, params=pairs[first : first + self.most_parameters])
        return self.run_id

    def _experiment_id(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mmn")
        experiment = self.client.get_experiment_by_name(name)
        return experiment.experiment_id if experiment else self.client.create_experiment(name)

    def log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # MLflow refuses the @ and the comma of R@1,IoU@0.5.
        names = {name: re.sub(r"[^\w\-. :/]", "_", name) for name in values}
        self.client.log_batch(self.run_id, [Metric(names[name], value, now, step) for name, value in values.items()])

    def finish(self, is_complete: bool) -> None:
        self.client.set_terminated(self.run_id, "FINISHED" if is_complete else "KILLED")


class Tracker:
    """Sends a run's values to a service, from a thread of its own.

    Args:
        service: the service.
        output_dir: folder of the run; the id of the tracked run is kept there.
        parameters: the config, by full key.
        continues: whether this training goes on with an earlier one of `output_dir`, and so with its tracked run.
    Raises UserError where the service's package is not installed.
    """

    def __init__(self, service: Service, output_dir: str, parameters: Mapping[str, object], continues: bool):
        if importlib.util.find_spec(service.package) is None:
            raise UserError(
                f"SOLVER.TRACKER needs the package {service.package}, which is not installed: "
                f"pip install .[{service.package}], or leave the key empty"
            )
        self.service = service
        self.path = os.path.join(output_dir, RUN_FILE)
        self.calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self.thread.start()
        run_id = self._known_run() if continues else None
        name = os.path.basename(os.path.abspath(output_dir))
        self.calls.put(lambda: self._start(run_id, name, parameters))

    def log(self, values: Mapping[str, float], step: int) -> None:
        values = dict(values)
        self.calls.put(lambda: self.service.log(values, step))

    def close(self, is_complete: bool) -> None:
        """End the tracked run, waiting up to PATIENCE seconds for what is under way."""
        self.calls.put(lambda: self.service.finish(is_complete))
        self.calls.put(None)
        self.thread.join(PATIENCE)
        if self.thread.is_alive():
            get_logger().warning("the tracker has not taken all values within %.0f s, the rest is dropped", PATIENCE)

    def _work(self) -> None:
        while (call := self.calls.get()) is not None:
            try:
                call()
            except Exception as error:  # whatever it is, it must not end the run
                reason = " ".join(str(error).split())[:300]
                get_logger().warning(
                    "tracking by %s has failed and is off from here on, the run goes on: %s: %s",
                    self.service.package,
                    type(error).__name__,
                    reason,
                )
                return

    def _start(self, run_id: str | None, name: str, parameters: Mapping[str, object]) -> None:
        run_id = self.service.start(run_id, name, parameters)
        with atomic_path(self.path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(f"{self.service.package} {run_id}\n")

    def _known_run(self) -> str | None:
        try:
            with open(self.path, encoding="utf-8") as file:
                package, run_id = file.read().split()
        except (OSError, ValueError):
            return None
        return run_id if package == self.service.package else None


def build_tracker(name: str, output_dir: str, parameters: Mapping[str, object], continues: bool) -> Tracker | None:
    """The tracker of SOLVER.TRACKER; None for ""."""
    return Tracker(TRACKERS[name](), output_dir, parameters, continues) if name else None
