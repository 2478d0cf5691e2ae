"""Processes for tests: groups that talk over gloo, and tools as a user runs them.

Importing torch and transformers takes seconds of a processor. So it is done once, in a server (`forkserver` of
multiprocessing) that forks for every process asked for; what comes out is a process of its own, with nothing of the tests
in it: no threads, no random state, no environment variables but those given.
"""

import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

ROOT = Path(__file__).parents[1]
OF_A_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# What the server imports; a name that cannot be imported costs time where it is needed, and nothing else.
IMPORTED = ("pytest", "torch.distributed.run", "transformers.models.distilbert.modeling_distilbert", "mmn.engine.run")

multiprocessing.set_forkserver_preload(list(IMPORTED))


def start_server() -> None:
    """Start the server where it does not run yet."""
    before = os.getcwd()
    os.chdir(ROOT)  # from where it imports the package
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.chdir(before)


def stop_server() -> None:
    """End the server where one was started, so that its processor time counts as that of the tests."""
    multiprocessing.forkserver._forkserver._stop()


# ---- Groups ----------------------------------------------------------------------------------------------------------


def run_in_group(function: Callable, *args, world_size: int = 2) -> list:
    """`function(rank, *args)` in each process of a gloo group -> its results in rank order.

    The function must be importable by name, and what it returns be tensors and plain values.
    """
    start_server()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world_size, folder, function, args)
        torch.multiprocessing.start_processes(_run_rank, arguments, nprocs=world_size, start_method="forkserver")
        return [torch.load(os.path.join(folder, f"result_{rank}.pth")) for rank in range(world_size)]


def _run_rank(rank: int, world_size: int, folder: str, function: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    try:
        torch.save(function(rank, *args), os.path.join(folder, f"result_{rank}.pth"))
    finally:
        dist.destroy_process_group()


# ---- Tools -----------------------------------------------------------------------------------------------------------


class Fork:
    """A process that calls a function which can be imported by name; it has what tests use of `subprocess.Popen`."""

    def __init__(self, function: Callable, *args: object):
        start_server()
        self.process = multiprocessing.get_context("forkserver").Process(target=function, args=args)
        self.process.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.process), timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()


def start_tool(
    command: Sequence[object], stdout: Path, stderr: Path | None = None, folder: Path = ROOT, **environment: str
) -> Fork:
    """A tool in a process of its own, in a session of its own.

    Args:
        command: tools/NAME.py, or another script, and its arguments.
        stdout: the file that its output is appended to; that of stderr too, where it has none.
        folder: where it runs.
        environment: variables on top of those of the tests.
    """
    script, *args = map(str, command)
    variables = _variables() | environment
    return Fork(_run_tool, [str(ROOT / script), *args], folder, variables, stdout, stderr or stdout)


def start_ranks(
    num_processes: int, command: Sequence[object], stdout: Path, *more: Path, **environment: str
) -> list[Fork]:
    """The processes of a tool as torchrun starts them; the arguments are those of `start_tool`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    group |= {name: str(num_processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    ranks = [group | {name: str(rank) for name in ("RANK", "LOCAL_RANK")} for rank in range(num_processes)]
    return [start_tool(command, stdout, *more, **environment | variables) for variables in ranks]


def launch(
    num_processes: int, tool: str, *args: object, folder: Path = ROOT, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess:
    """A tool of the repository on one or several processes, its output as text.

    Args:
        folder: where it runs.
        environment: variables on top of those of the tests.
    """
    command = [f"tools/{tool}", *map(str, args)]
    with tempfile.TemporaryDirectory() as place:
        outputs = [Path(place, name) for name in ("stdout", "stderr")]
        if num_processes == 1:
            processes = [start_tool(command, *outputs, folder, **environment)]
        else:
            processes = start_ranks(num_processes, command, *outputs, folder, **environment)
        try:
            code = _join(processes, command, timeout)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        return subprocess.CompletedProcess(command, code, *(path.read_text() for path in outputs))


def _join(processes: Sequence[Fork], command: list[str], timeout: float) -> int:
    """Wait for the end of all of them, or of one that fails, which the others may wait for; returns the exit code."""
    deadline = time.monotonic() + timeout
    while True:
        codes = [process.poll() for process in processes]
        if any(codes) or None not in codes:
            return next(filter(None, codes), 0)
        if time.monotonic() > deadline:
            raise subprocess.TimeoutExpired(command, timeout)
        multiprocessing.connection.wait(
            [process.process.sentinel for process in processes if process.poll() is None], 1
        )


def run_python(
    *args: object, timeout: float = 120, folder: Path = ROOT, text: str = "", **environment: str
) -> subprocess.CompletedProcess:
    """A fresh Python with `args` in `folder`, which imports all that it needs itself; its output as text.

    Args:
        text: its standard input.
        environment: see `launch`.
    """
    command, variables = [sys.executable, *map(str, args)], _variables() | environment
    return subprocess.run(
        command, cwd=folder, env=variables, input=text, capture_output=True, text=True, timeout=timeout, check=False
    )


def _variables() -> dict[str, str]:
    """The environment of a process that belongs to no group."""
    common = {key: value for key, value in os.environ.items() if key not in OF_A_GROUP}
    return common | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def _run_tool(command: list[str], folder: Path, environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    os.chdir(folder)
    torch.set_num_threads(1)
    sys.argv = command
    sys.path.insert(0, str(ROOT / "tools"))
    runpy.run_path(command[0], run_name="__main__")
