"""What can go wrong with a machine while a model runs, as sentences that say what to change."""

import contextlib
from collections.abc import Iterator

import torch
from yacs.config import CfgNode

from mmn.utils.errors import UserError


@contextlib.contextmanager
def explained_faults(cfg: CfgNode, batch_key: str) -> Iterator[None]:
    """Memory that does not suffice and loader workers that were killed become UserErrors.

    Args:
        batch_key: the key under which the batch size of what runs stands, "SOLVER.BATCH_SIZE" or "TEST.BATCH_SIZE".
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(_memory_sentence(cfg, batch_key, "the GPU"), is_own=True) from error
    except RuntimeError as error:
        text = str(error)
        if "DefaultCPUAllocator" in text:
            raise UserError(_memory_sentence(cfg, batch_key, "the machine"), is_own=True) from error
        if "DataLoader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text):
            raise UserError(
                f"a data loader worker was killed ({_first_line(text)}), mostly because the machine ran out of memory: "
                f"lower DATALOADER.NUM_WORKERS ({cfg.DATALOADER.NUM_WORKERS}) or DATALOADER.CACHE_GB "
                f"({cfg.DATALOADER.CACHE_GB}), then continue with SOLVER.RESUME True",
                is_own=True,
            ) from error
        raise


def _memory_sentence(cfg: CfgNode, batch_key: str, place: str) -> str:
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


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(".")
