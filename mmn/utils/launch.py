"""Starting a tool on one or several processes, refusing beforehand what could not start."""

import argparse
import logging
import os
import re
import socket
import sys
from collections.abc import Sequence

import torch
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from mmn.config import load_config, validate
from mmn.utils.comm import resolve_device
from mmn.utils.errors import ConfigError


def launch(
    tool: str,
    arguments: Sequence[str],
    num_processes: int,
    num_nodes: int,
    node_rank: int,
    master_addr: str,
    master_port: int,
) -> None:
    """Check, then run `tool` under torchrun; a single process runs without it. Exits with the tool's exit code.

    Args:
        tool: path of an entry script that takes `--config-file F [flags] KEY VALUE ...`.
        num_processes: on this machine.
        node_rank: of this machine among `num_nodes`.
        master_addr, master_port: where the processes meet; the port must be free on node 0.
    Raises:
        ConfigError: too few GPUs, a port in use, a config that cannot work or a batch size that does not divide.
    """
    if num_processes < 1 or num_nodes < 1:
        raise ConfigError(f"gpun is {num_processes} and nnodes {num_nodes}: both must be at least 1")
    if not 0 <= node_rank < num_nodes:
        raise ConfigError(f"node_rank is {node_rank}: with nnodes {num_nodes} it must be from 0 to {num_nodes - 1}")
    cfg = load_config(*_config_arguments(arguments))
    _check_devices(cfg.MODEL.DEVICE, num_processes)
    validate(cfg, num_processes * num_nodes)
    if num_processes == num_nodes == 1:
        os.execv(sys.executable, [sys.executable, tool, *arguments])
    if node_rank == 0:
        _check_port(master_addr, master_port)
    # torchrun would give every process a single thread; on CPUs they share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // num_processes)))
    _torchrun(
        [
            *("--nnodes", str(num_nodes), "--node_rank", str(node_rank), "--nproc_per_node", str(num_processes)),
            *("--master_addr", master_addr, "--master_port", str(master_port)),
            *(tool, *arguments),
        ]
    )


def _config_arguments(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The config file and the KEY VALUE pairs among a tool's arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-file", required=True)
    known, rest = parser.parse_known_args(list(arguments))
    # Flags come first; a key is the first word of capitals, dots and underscores.
    first_key = next((number for number, word in enumerate(rest) if re.fullmatch(r"[A-Z0-9_.]+", word)), len(rest))
    return known.config_file, rest[first_key:]


def _check_devices(device: str, num_processes: int) -> None:
    if resolve_device(device).type == "cuda" and num_processes > torch.cuda.device_count():
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
            raise ConfigError(
                f"master_port {master_port} on {master_addr} is already in use, perhaps by another training: "
                f"choose another, e.g. master_port={master_port % 60000 + 1000}"
            ) from error


def _torchrun(arguments: list[str]) -> None:
    # The failing process has already said what is wrong; torchrun's own report would bury it.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun.main(arguments)
    except ChildFailedError as error:
        sys.exit(error.get_first_failure()[1].exitcode)
