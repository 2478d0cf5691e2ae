"""Failures of the machine while a model runs, as sentences that say what to change."""

import contextlib
from collections.abc import Iterator

import torch
from yacs.config import CfgNode

from mmn.utils.errors import UserError


@contextlib.contextmanager
def machine_errors_explained(cfg: CfgNode, batch_key: str) -> Iterator[None]:
    """Turn running out of memory, and a loader worker that was killed, into a UserError; let other errors pass.

    Args:
        cfg: the config, whose values the sentences name.
        batch_key: the key of the batch size in use, "SOLVER.BATCH_SIZE" or "TEST.BATCH_SIZE".
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(_out_of_memory(cfg, batch_key, "the GPU"), is_own=True) from error
    except RuntimeError as error:
        text = str(error)
        if _is_out_of_cpu_memory(text):
            raise UserError(_out_of_memory(cfg, batch_key, "the machine"), is_own=True) from error
        if _is_of_killed_worker(text):
            raise UserError(_killed_worker(cfg, text), is_own=True) from error
        raise


def _is_out_of_cpu_memory(text: str) -> bool:
    """Tell whether PyTorch's allocator says this: it has no exception of its own for the CPU."""
    return "DefaultCPUAllocator" in text


def _is_of_killed_worker(text: str) -> bool:
    """Tell whether PyTorch's data loader says this: its message is all that tells it from other errors."""
    return "DataLoader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text)


def _out_of_memory(cfg: CfgNode, batch_key: str, place: str) -> str:
    section, name = batch_key.split(".")
    num_clips = cfg.MODEL.MMN.NUM_CLIPS
    remedies = f"lower {batch_key}"
    if batch_key == "SOLVER.BATCH_SIZE":
        remedies += (
            f", raise SOLVER.ACCUMULATE ({cfg.SOLVER.ACCUMULATE}), or set SOLVER.AMP bf16 or "
            "MODEL.MMN.PREDICTOR.CHECKPOINT_ACTIVATIONS True"
        )
    return (
        f"{place} ran out of memory with {batch_key} {cfg[section][name]} and a map of {num_clips} x {num_clips}: "
        f"{remedies}"
    )


def _killed_worker(cfg: CfgNode, text: str) -> str:
    reason = text.strip().splitlines()[0].rstrip(".")
    return (
        f"a data loader worker was killed ({reason}), mostly because the machine ran out of memory: "
        f"lower DATALOADER.NUM_WORKERS ({cfg.DATALOADER.NUM_WORKERS}) or DATALOADER.CACHE_GB "
        f"({cfg.DATALOADER.CACHE_GB}), then continue with SOLVER.RESUME True"
    )
