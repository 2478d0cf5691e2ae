"""Starting a tool on one or several processes, refusing beforehand what could not start."""

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from mmn.config import load_config, validate
from mmn.utils.comm import resolve_device
from mmn.utils.errors import ConfigError, failed_read
from mmn.utils.preemption import PREEMPTED_EXIT_CODE
from mmn.utils.preemption import SIGNALS as PREEMPTION_SIGNALS
from mmn.utils.processors import num_processors

_SIGNALS = ("SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP", "SIGQUIT")  # that torchrun passes on before it ends
_HOW_TO_GO_ON = "a training goes on from its last checkpoint by the same command with SOLVER.RESUME True"


@dataclass(frozen=True)
class Program:
    """A program that trains or tests by a config.

    Attributes:
        words: its path, its arguments before those of the command where it has such, and the command's.
        config_file, options: the config that those arguments name, and the KEY VALUE pairs over it.
        training: whether it trains.
    """

    words: Sequence[str]
    config_file: str
    options: Sequence[str]
    training: bool


def launch(
    program: Program,
    num_processes: int,
    num_nodes: int,
    node_rank: int,
    master_addr: str,
    master_port: int,
    max_restarts: int = 0,
) -> None:
    """Check, then run a program under torchrun; a single process runs without it. Exits with its exit code.

    Args:
        program: the program.
        num_processes: processes on this machine.
        num_nodes: machines.
        node_rank: this machine's number among them, from 0.
        master_addr, master_port: where the processes meet; the port must be free on node 0.
        max_restarts: how often torchrun starts the processes again after one of them has failed; training then goes on
            from its last checkpoint.
    Raises:
        ConfigError: too few GPUs, a port in use, a config that cannot work or a batch size that does not divide.
    """
    if num_processes < 1 or num_nodes < 1:
        raise ConfigError(f"gpun is {num_processes} and nnodes {num_nodes}: both must be at least 1")
    if not 0 <= node_rank < num_nodes:
        raise ConfigError(f"node_rank is {node_rank}: with nnodes {num_nodes} it must be from 0 to {num_nodes - 1}")
    cfg = load_config(program.config_file, program.options)
    _check_devices(cfg.MODEL.DEVICE, num_processes)
    validate(cfg, num_processes * num_nodes, program.training)
    if max_restarts < 0:
        raise ConfigError(f"max_restarts is {max_restarts}: it must be 0 or more")
    if num_processes == num_nodes == 1 and not max_restarts:
        os.execv(sys.executable, [sys.executable, *program.words])
    if node_rank == 0:
        _check_port(master_addr, master_port)
    # torchrun would give every process a single thread; on CPUs they share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_processors() // num_processes)))
    _torchrun(
        [
            *("--nnodes", str(num_nodes), "--node_rank", str(node_rank), "--nproc_per_node", str(num_processes)),
            *_meeting_arguments(num_nodes, master_addr, master_port, max_restarts),
            *("--max_restarts", str(max_restarts), "--signals_to_handle", ",".join(_SIGNALS)),
            *program.words,
        ]
    )


def _meeting_arguments(num_nodes: int, master_addr: str, master_port: int, max_restarts: int) -> list[str]:
    """Arguments by which processes find each other. Each restart needs a new store: the plain one keeps dead addresses."""
    if not max_restarts:
        return ["--master_addr", master_addr, "--master_port", str(master_port)]
    meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"{master_addr}:{master_port}", "--rdzv_id", "mmn"]
    return meeting + (["--local_addr", "127.0.0.1"] if num_nodes == 1 else [])


def _check_devices(device: str, num_processes: int) -> None:
    asked = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if asked and device == "auto" and not torch.cuda.is_available():
        raise ConfigError(
            f"the GPUs {asked} were asked for, but this machine shows none of them: correct gpus, or set MODEL.DEVICE cpu"
        )
    if resolve_device(device, "MODEL.DEVICE").type == "cuda" and num_processes > torch.cuda.device_count():
        raise ConfigError(
            f"gpun is {num_processes}, but this machine shows {torch.cuda.device_count()} GPUs: lower gpun, list more "
            "ids in gpus, or set MODEL.DEVICE cpu"
        )


def _check_port(master_addr: str, master_port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", master_port))
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = (
                "is already in use, perhaps by another training" if taken else f"cannot be used ({failed_read(error)})"
            )
            raise ConfigError(
                f"master_port {master_port} on {master_addr} {reason}: choose another, "
                f"e.g. master_port={20000 + (master_port + 1000) % 40000}"
            ) from error


def free_port() -> int:
    """A port on which nobody listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _torchrun(arguments: list[str]) -> None:
    # The failing process has already said what is wrong; torchrun's own report would bury it.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun.main(arguments)
    except SignalException as error:
        # By now torchrun has passed the signal on and waited half a minute for the processes.
        if error.sigval in PREEMPTION_SIGNALS:
            print(f"stopped by {error.sigval.name}: {_HOW_TO_GO_ON}", file=sys.stderr, flush=True)
            sys.exit(PREEMPTED_EXIT_CODE)
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        sys.exit(_exit_code(error))


def _exit_code(error: ChildFailedError) -> int:
    """Exit code of the launcher for a failure; prints a sentence where a signal has ended a process without a word."""
    rank, first = error.get_first_failure()
    if any(failure.exitcode == PREEMPTED_EXIT_CODE for failure in error.failures.values()):
        return PREEMPTED_EXIT_CODE
    if first.exitcode >= 0:
        return first.exitcode
    cause = ", as the system does when memory runs out" if first.exitcode == -signal.SIGKILL else ""
    print(
        f"error: process {rank} was killed by {signal.Signals(-first.exitcode).name}{cause}: {_HOW_TO_GO_ON}",
        file=sys.stderr,
        flush=True,
    )
    return 128 - first.exitcode
