"""Processes for tests: groups that talk over gloo, and tools as a user runs them.

Importing torch and transformers takes seconds of a processor. So it is done once, in a server (`forkserver` of
multiprocessing) that forks for every process asked for; what comes out is a process of its own, with nothing of the tests
in it: no threads, no random state, no environment variables but those given.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
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


def launch(
    num_processes: int, tool: str, *args: object, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess:
    """A tool of the repository on one or several processes, its output as text.

    Args:
        environment: variables on top of those of the tests.
    """
    start_server()
    command = [f"tools/{tool}", *map(str, args)]
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        for path in outputs:
            path.touch()
        processes = [
            context.Process(target=_run_tool, args=(command, variables | environment, *outputs))
            for variables in _variables(num_processes)
        ]
        for process in processes:
            process.start()
        try:
            _join(processes, command, timeout)
        finally:
            for process in processes:
                process.kill()
                process.join()
        code = next((process.exitcode for process in processes if process.exitcode), 0)
        return subprocess.CompletedProcess(command, code, *(path.read_text() for path in outputs))


def _join(processes: list, command: list[str], timeout: float) -> None:
    """Wait for the end of all of them, or of one that fails, which the others may wait for."""
    deadline = time.monotonic() + timeout
    while any(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            raise subprocess.TimeoutExpired(command, timeout)
        if len(processes) > 1 and any(process.exitcode for process in processes):
            return
        for process in processes:
            process.join(0.05)


def run_python(*args: object, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess:
    """A fresh Python with `args` in the repository root, its output as text. It imports all that it needs itself."""
    command, variables = [sys.executable, *map(str, args)], _variables(1)[0] | environment
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=timeout, check=False
    )


def _variables(num_processes: int) -> list[dict[str, str]]:
    """The environment of each process, as torchrun makes it."""
    common = {key: value for key, value in os.environ.items() if key not in OF_A_GROUP}
    common |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if num_processes == 1:
        return [common]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    group |= {name: str(num_processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    return [common | group | {name: str(rank) for name in ("RANK", "LOCAL_RANK")} for rank in range(num_processes)]


def _run_tool(command: list[str], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(ROOT)
    torch.set_num_threads(1)
    sys.argv = command
    sys.path.insert(0, str(ROOT / "tools"))
    runpy.run_path(command[0], run_name="__main__")
