"""Running the runs of a table side by side: each in a folder and process of its own, none twice, none for ever lost."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmn.utils.comm import resolve_device, visible_gpus
from mmn.utils.errors import Preempted
from mmn.utils.files import atomic_path
from mmn.utils.preemption import PREEMPTED_EXIT_CODE, die_with_the_parent
from mmn.utils.processors import num_processors
from mmn.utils.text_files import parse_json, read_text

STATE_FILE = "ablation.json"  # in a run's folder: which steps are done, and the seconds they took
CONSOLE_FILE = "console.txt"  # what the run's processes print
GRACE = 60.0  # seconds that a run may take to save itself before it is killed
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Step:
    """One command of a run.

    Attributes:
        name: the step's, within its run.
        command: the program and its arguments.
        products: files that it leaves; it is not done without them.
        fingerprint: a hash of all that its result depends on; another one means that the step is to be done again.
        earlier_fingerprint: the hash that earlier versions of the program wrote for the same.
    """

    name: str
    command: tuple[str, ...]
    products: tuple[Path, ...]
    fingerprint: str
    earlier_fingerprint: str = ""

    def missing(self) -> list[Path]:
        return [path for path in self.products if not path.exists()]


@dataclass
class Run:
    """A training and its evaluations, in one folder."""

    label: str
    folder: Path
    training: Step
    evaluations: list[Step]

    def pending(self) -> list[Step]:
        """The steps still to be done. Checkpoints that nobody needs any more may be deleted."""
        state = self._state()

        def was_done(step: Step) -> bool:
            done = state.get(step.name, {}).get("done")
            return bool(done) and done in (step.fingerprint, step.earlier_fingerprint)

        evaluations = [step for step in self.evaluations if not was_done(step) or step.missing()]
        if was_done(self.training) and not (evaluations and self.training.missing()):
            return evaluations
        return [self.training, *self.evaluations]

    def record(self, step: Step, seconds: float, is_done: bool) -> None:
        """Add an attempt's seconds to the step's, and note whether it is done."""
        state = self._state()
        seconds += self.seconds(step.name)
        state[step.name] = {"done": step.fingerprint if is_done else "", "seconds": round(seconds, 2)}
        with atomic_path(str(self.folder / STATE_FILE)) as temporary:
            Path(temporary).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def seconds(self, step_name: str) -> float:
        """The seconds that a step has taken so far, in all attempts that ended."""
        return self._state().get(step_name, {}).get("seconds", 0.0)

    def _state(self) -> dict[str, dict]:
        try:
            state = parse_json(read_text(str(self.folder / STATE_FILE)))
        except (OSError, ValueError):  # none yet, or spoiled by a full disk: the steps look at their folder themselves
            return {}
        return state if isinstance(state, dict) else {}


@dataclass(frozen=True)
class Failure:
    """A run that did not end well, and the last words of the process that failed."""

    run: Run
    words: str


@dataclass
class _Active:
    run: Run
    steps: deque[Step]
    process: subprocess.Popen
    started: float
    spent: float = 0.0


def run_all(
    runs: Sequence[Run], environments: Sequence[Mapping[str, str]], log: Callable[[str], None]
) -> list[Failure]:
    """Bring all runs to their end, as many at a time as there are environments; what is done already is skipped.

    Ctrl-C and SIGTERM end the processes, which save themselves first; the next call goes on from there.

    Args:
        environments: variables that a run's processes get on top of this one's, for each place that a run can take.
        log: takes a line per run that begins or ends.
    Returns the runs that failed, which stop no other.
    """
    waiting = deque(run for run in runs if run.pending())
    free, active, failures = list(range(len(environments))), {}, []
    done = len(runs) - len(waiting)
    if done:
        log(f"{done} of {len(runs)} runs are finished already")
    with _stopping_on_sigterm():
        try:
            while waiting or active:
                while waiting and free:
                    place, run = free.pop(0), waiting.popleft()
                    active[place] = _start(run, deque(run.pending()), environments[place])
                time.sleep(POLL_SECONDS)
                for place, job in list(active.items()):
                    if job.process.poll() is None:
                        continue
                    active.pop(place)
                    follower, failure = _finish_step(job, environments[place])
                    if follower is not None:
                        active[place] = follower
                        continue
                    free.append(place)
                    done += 1
                    log(f"[{done}/{len(runs)}] {job.run.label}: {_outcome(job, failure)}")
                    failures += [failure] if failure else []
        finally:
            _end([job.process for job in active.values()])
    return failures


def _start(run: Run, steps: deque[Step], environment: Mapping[str, str], spent: float = 0.0) -> _Active:
    run.folder.mkdir(parents=True, exist_ok=True)
    with open(run.folder / CONSOLE_FILE, "ab") as console:
        process = subprocess.Popen(
            steps[0].command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which passes on what it means
            preexec_fn=die_with_the_parent,
        )
    return _Active(run, steps, process, time.monotonic(), spent)


def _finish_step(job: _Active, environment: Mapping[str, str]) -> tuple[_Active | None, Failure | None]:
    """Note how the step ended; start the run's next one, or say why there is none."""
    step, seconds = job.steps.popleft(), time.monotonic() - job.started
    job.spent += seconds
    code = job.process.returncode
    missing = step.missing()
    job.run.record(step, seconds, is_done=code == 0 and not missing)
    if code == 0 and not missing:
        return (_start(job.run, job.steps, environment, job.spent) if job.steps else None), None
    if code == 0:
        return None, Failure(job.run, f"{step.name} ended without {missing[0].name}")
    return None, Failure(job.run, f"{step.name}: {_last_words(job.run.folder / CONSOLE_FILE, code)}")


def _last_words(console: Path, code: int) -> str:
    """The last line that a failed process printed, or what its exit code says."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    if code == PREEMPTED_EXIT_CODE:
        return "stopped by a signal, with everything saved"
    lines = console.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")


def _outcome(job: _Active, failure: Failure | None) -> str:
    return f"FAILED, {failure.words}" if failure else f"done after {job.spent:.0f} s"


@contextlib.contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    """Within it SIGTERM raises Preempted in the main thread, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number, frame):
        raise Preempted("the runs have been ended and have saved themselves: the same command goes on from there")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(processes: Sequence[subprocess.Popen]) -> None:
    """Ask the processes to stop, which training does after saving; kill those that have not after GRACE seconds."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + GRACE
    try:
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:  # also where a second Ctrl-C ends the waiting
        for process in processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def share_environments(device_name: str, num_jobs: int) -> list[dict[str, str]]:
    """The variables that give each of `num_jobs` processes its share of this machine.

    On CPUs the cores are split evenly, unless OMP_NUM_THREADS says how many threads a process is to have. Otherwise each
    process sees one GPU, and several share it where there are more jobs than GPUs.

    Args:
        device_name: MODEL.DEVICE.
        num_jobs: 0 for one per GPU, or a single one on CPUs.
    """
    device = resolve_device(device_name, "MODEL.DEVICE")
    gpus = [] if device.type == "cpu" or device.index is not None else visible_gpus()
    num_jobs = num_jobs or max(1, len(gpus))
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} for place in range(num_jobs)]
    threads = max(1, num_processors() // num_jobs)
    return [{} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)} for _ in range(num_jobs)]
