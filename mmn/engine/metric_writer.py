"""Metrics of a run as they come: metrics.jsonl, TensorBoard, a tracker, and progress on the console. Rank 0 only."""

import json
import os
import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from mmn.engine.tracking import Tracker
from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path
from mmn.utils.logger import get_logger
from mmn.utils.text_files import parse_json

METRICS_FILE = "metrics.jsonl"
LINE_SECONDS = 10.0  # between two lines of the log
WALL_CLOCK_FIELDS = ("videos_per_s", "data_wait", "memory_mb")  # in which two equal runs may differ


class MetricWriter:
    """Appends rows to metrics.jsonl and scalars to TensorBoard, and hands them to a tracker where there is one.

    Args:
        output_dir: folder of the run; None writes nothing (the ranks other than 0).
        first_epoch: the epoch that the run begins with, or in.
        first_step: iterations since the start of training that are done. Rows beyond them are left over from a run that
            was cut off after its last checkpoint, and are dropped, as is what a crash has cut off or spoiled.
        tracker: gets the same values; closed with this.
    """

    def __init__(
        self, output_dir: str | None, first_epoch: int = 1, first_step: int = 0, tracker: Tracker | None = None
    ):
        self.path = os.path.join(output_dir, METRICS_FILE) if output_dir else None
        self.tensorboard, self.tracker = None, tracker
        if self.path is None:
            return
        self._drop_rows_beyond(first_epoch, first_step)
        from torch.utils.tensorboard import SummaryWriter  # seconds of import that only training needs

        self.tensorboard = SummaryWriter(os.path.join(output_dir, "tensorboard"), purge_step=first_step + 1)

    def _drop_rows_beyond(self, first_epoch: int, first_step: int) -> None:
        if not os.path.exists(self.path):
            return
        lines = []
        with open(self.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    row = parse_json(line) if line.endswith("\n") else {}
                    position = row["epoch"], row["step"]
                except (ValueError, KeyError, TypeError):
                    get_logger().warning("%s has a damaged row, which is dropped", self.path)
                    continue
                if position[0] < first_epoch or (position[0] == first_epoch and position[1] <= first_step):
                    lines.append(line)
        with atomic_path(self.path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.writelines(lines)

    def write(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Add one row.

        Args:
            kind: "train", or "eval/<split>".
            step: iterations since the start of training.
        """
        if self.path is None:
            return
        row = {"kind": kind, "epoch": epoch, "step": step, **values}
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}): free some space, then continue with "
                "SOLVER.RESUME True"
            ) from error
        scalars = {f"{kind}/{name}": value for name, value in values.items()}
        for name, value in scalars.items():
            self.tensorboard.add_scalar(name, value, step)
        if self.tracker is not None:
            self.tracker.log(scalars, step)

    def close(self, is_complete: bool = True) -> None:
        """End the run's record; with is_complete=False the training is to go on later."""
        if self.tensorboard is not None:
            self.tensorboard.close()
        if self.tracker is not None:
            self.tracker.close(is_complete)


class Progress:
    """Loss, learning rates, throughput and time to go: a live bar on a terminal, otherwise plain lines in the log.

    Args:
        first_step, num_steps: iterations done before, and in the whole training.
        enabled: True on rank 0.
    """

    def __init__(self, first_step: int, num_steps: int, enabled: bool):
        self.enabled = enabled
        self.num_steps = num_steps
        self.first_step = first_step
        self.start = time.perf_counter()
        self.next_line = self.start  # when the log takes another line
        on_terminal = enabled and sys.stderr.isatty()
        self.bar = tqdm(total=num_steps, initial=first_step, dynamic_ncols=True, unit="it") if on_terminal else None

    def advance(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def report(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Show averaged values after iteration `step`; in a log at most every LINE_SECONDS and at the end."""
        if not self.enabled:
            return
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self.bar is not None:
            self.bar.set_description_str(f"epoch {epoch}")
            self.bar.set_postfix_str(text)
            return
        now = time.perf_counter()
        if now < self.next_line and step < self.num_steps:
            return  # metrics.jsonl has these values too
        self.next_line = now + LINE_SECONDS
        seconds = (now - self.start) / max(step - self.first_step, 1) * (self.num_steps - step)
        eta = time.strftime("%H:%M:%S", time.gmtime(seconds % 86400))
        days = f"{int(seconds // 86400)}d " if seconds >= 86400 else ""
        get_logger().info("epoch %d  step %d/%d  eta %s%s  %s", epoch, step, self.num_steps, days, eta, text)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
