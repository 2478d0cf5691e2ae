"""Killing a run at random times, starting it again with the same command, and comparing its end to an undisturbed run's."""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mmn.apps.synthetic.options import SyntheticOptions
from mmn.apps.synthetic.synthetic_moments import write_synthetic_dataset
from mmn.config.packaged import find_config
from mmn.engine.metric_writer import METRICS_FILE, WALL_CLOCK_FIELDS
from mmn.utils.checkpoint import CheckpointFolder
from mmn.utils.errors import UserError
from mmn.utils.program import program

PATIENCE = 60.0  # seconds that a run may take to end after one of its processes was killed
SMALL_EPOCHS = 4  # of the runs of `check_resuming`
STARTUP_SHARE = 0.1  # of the kills fall before training begins
# (what is killed, by which signal). "launcher": the process that the user started.
MEANS = (
    ("rank", signal.SIGKILL),
    ("launcher", signal.SIGKILL),
    ("launcher", signal.SIGTERM),
    ("rank", signal.SIGTERM),
    ("rank", signal.SIGUSR1),
)


@dataclass
class Kill:
    """One kill: what was hit, by which signal, how many seconds the run then took to end, and its exit code."""

    target: str
    signal: str
    seconds: float
    exit_code: int


@dataclass
class ChaosReport:
    """Outcome of the kills: `differences` is empty where every disturbed run ended like the undisturbed one."""

    kills: list[Kill] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    num_runs: int = 0


class ChaosRun:
    """A training command in a folder of its own.

    Args:
        arguments: those of `mmn train`, without OUTPUT_DIR and SOLVER.RESUME.
        num_processes: started by `mmn launch`.
        folder: OUTPUT_DIR.
        last_epoch: SOLVER.MAX_EPOCH of the arguments, and `feat2d` the name of their 2D map.
    """

    def __init__(self, arguments: Sequence[str], num_processes: int, folder: Path, last_epoch: int, feat2d: str):
        self.arguments = list(arguments)
        self.num_processes = num_processes
        self.folder = folder
        self.last_epoch = last_epoch
        self.feat2d = feat2d

    def start(self) -> subprocess.Popen:
        command = program("launch", "--processes", str(self.num_processes), "train", *self.arguments)
        command += ("OUTPUT_DIR", str(self.folder), "SOLVER.RESUME", "True")
        with open(self.folder.parent / f"{self.folder.name}.txt", "a") as output:
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def wait_until_training(self, process: subprocess.Popen) -> None:
        """Until the data is read and a first iteration is close, or the process has ended."""
        log, seen = self.folder / "log.txt", self._num_starts()
        while process.poll() is None and (not log.exists() or self._num_starts() == seen):
            time.sleep(0.02)

    def _num_starts(self) -> int:
        log = self.folder / "log.txt"
        return log.read_text().count("data ready") if log.exists() else 0

    def finish(self, process: subprocess.Popen) -> None:
        """Wait for the end. Raises RuntimeError, with what the run printed last, where it failed."""
        if process.wait() != 0:
            text = (self.folder.parent / f"{self.folder.name}.txt").read_text()
            raise RuntimeError(f"the run in {self.folder} failed with exit code {process.returncode}: {text[-2000:]}")

    def result(self) -> dict:
        """Final and best checkpoint and the rows of metrics.jsonl, without wall-clock fields and the folder's name."""
        checkpoints = CheckpointFolder(str(self.folder), self.feat2d)
        content = {}
        for name, path in (("end", checkpoints.epoch_path(self.last_epoch)), ("best", checkpoints.best_path)):
            content[name] = torch.load(path, weights_only=True)
            del content[name]["config"]
        rows = [json.loads(line) for line in (self.folder / METRICS_FILE).read_text().splitlines()]
        content["metrics"] = [
            {key: value for key, value in row.items() if key not in WALL_CLOCK_FIELDS} for row in rows
        ]
        return content


def check_resuming(num_kills: int, kills_per_run: int, num_processes: int, seed: int, options: Sequence[str]) -> None:
    """`run_chaos` on a small synthetic dataset, with a summary.

    Args:
        options: KEY VALUE pairs over the config.
    Raises UserError where a disturbed run ended differently.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        write_synthetic_dataset(
            root / "synthetic", SyntheticOptions(num_train=64, num_val=8, num_test=2), log=lambda line: None
        )
        arguments = _small_training(root, options)
        report = run_chaos(
            lambda output: ChaosRun(arguments, num_processes, output, SMALL_EPOCHS, "pool"),
            Path(folder) / "runs",
            num_kills,
            kills_per_run,
            seed,
        )
    slowest = max((kill.seconds for kill in report.kills), default=0.0)
    print(f"{len(report.kills)} kills in {report.num_runs} runs; the slowest end took {slowest:.1f} s")
    if report.differences:
        raise UserError(
            f"{len(report.differences)} differences to the undisturbed run, the first {report.differences[0]}: "
            "resuming is not exact here, please report it"
        )
    print("weights, optimizer, best checkpoint and metrics are identical to the undisturbed run's")


def _small_training(root: Path, options: Sequence[str]) -> list[str]:
    """The arguments of a training of seconds on the dataset in `root`."""
    values = {
        "DATASETS.ROOT": root,
        "MODEL.DEVICE": "cpu",
        "MODEL.MMN.TEXT_ENCODER.PRETRAINED": root / "synthetic" / "text_encoder",
        "SOLVER.BATCH_SIZE": 4,
        "SOLVER.MAX_EPOCH": SMALL_EPOCHS,
        "SOLVER.TEST_PERIOD": 1,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.CHECKPOINT_ITERS": 2,
        "SOLVER.LOG_PERIOD": 3,
        "TEST.BATCH_SIZE": 4,
    }
    pairs = [str(part) for pair in values.items() for part in pair]
    return ["--config-file", find_config("synthetic"), "--skip-test", *pairs, *options]


def run_chaos(
    make_run: Callable[[Path], ChaosRun],
    folder: Path,
    num_kills: int,
    kills_per_run: int,
    seed: int,
    log: Callable[[str], None] = print,
) -> ChaosReport:
    """Train once undisturbed, then kill and continue runs until `num_kills` kills are done, and compare.

    Args:
        make_run: the run for an OUTPUT_DIR.
        folder: where the runs are made; it must not exist or be empty.
        kills_per_run: each run is killed this often before it may end.
        log: takes a line per kill and run.
    """
    generator = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    whole = make_run(folder / "whole")
    process = whole.start()
    whole.wait_until_training(process)
    start = time.monotonic()
    whole.finish(process)
    span = time.monotonic() - start
    log(f"undisturbed: {span:.1f} s of training")
    wanted, report = whole.result(), ChaosReport()
    while len(report.kills) < num_kills:
        report.num_runs += 1
        run = make_run(folder / f"run_{report.num_runs}")
        count = min(kills_per_run, num_kills - len(report.kills))
        for kill in _kill_often(run, count, span, generator):
            report.kills.append(kill)
            log(
                f"run {report.num_runs}, kill {len(report.kills)}: {kill.signal} to the {kill.target}, ended after "
                f"{kill.seconds:.1f} s with exit code {kill.exit_code}"
            )
        run.finish(run.start())
        differences = list(differing(run.result(), wanted))
        report.differences += [f"run {report.num_runs}: {name}" for name in differences]
        log(f"run {report.num_runs}: " + ("; ".join(differences[:5]) if differences else "identical end"))
        shutil.rmtree(run.folder)
    return report


def _kill_often(run: ChaosRun, count: int, span: float, generator: random.Random) -> Iterator[Kill]:
    """Start and kill a run `count` times; an attempt that ends before its kill counts for nothing."""
    while count:
        process = run.start()
        if generator.random() < STARTUP_SHARE:
            time.sleep(generator.uniform(0, 3))
        else:
            run.wait_until_training(process)
            time.sleep(generator.uniform(0, span / (count + 1)))
        target, number = generator.choice(MEANS)
        if process.poll() is not None:
            if process.returncode == 0:
                return  # it was too fast: nothing is left to kill
            run.finish(process)
        pids = _ranks(process.pid) if target == "rank" else []
        os.kill(generator.choice(pids) if pids else process.pid, number)
        start = time.monotonic()
        process.wait(timeout=PATIENCE)
        yield Kill(target if pids else "launcher", number.name, time.monotonic() - start, process.returncode)
        count -= 1


def _ranks(launcher: int) -> list[int]:
    """The processes that a launcher has started for the ranks; none where it runs the tool itself."""
    try:
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        return [int(pid) for pid in children if b"\0RANK=" in Path(f"/proc/{pid}/environ").read_bytes()]
    except OSError:  # ended meanwhile
        return []


def differing(one: object, other: object, name: str = "") -> Iterator[str]:
    """The places where two nested contents are not the same bit for bit.

    >>> list(differing({"a": [1, 2]}, {"a": [1, 3]}))
    ['/a/1']
    """
    if type(one) is not type(other):
        yield name
    elif isinstance(one, dict):
        if one.keys() != other.keys():
            yield f"{name}: names"
        for key in one.keys() & other.keys():
            yield from differing(one[key], other[key], f"{name}/{key}")
    elif isinstance(one, (list, tuple)):
        if len(one) != len(other):
            yield f"{name}: {len(one)} instead of {len(other)}"
        for number, pair in enumerate(zip(one, other, strict=False)):
            yield from differing(*pair, f"{name}/{number}")
    elif isinstance(one, Tensor):
        if one.shape != other.shape or not torch.equal(one, other):
            yield name
    elif one != other:
        yield name
