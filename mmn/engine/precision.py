"""Number formats and algorithms: autocast, TF32, determinism."""

import contextlib
import os

import torch
from torch import Tensor
from yacs.config import CfgNode

from mmn.utils.errors import ConfigError

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(cfg: CfgNode, device: torch.device) -> contextlib.AbstractContextManager:
    """Context in which the network runs in the number format of SOLVER.AMP."""
    dtype = AMP_DTYPES[cfg.SOLVER.AMP]
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def refuse_compilation(cfg: CfgNode, device: torch.device) -> None:
    """Raise ConfigError for SOLVER.COMPILE on a CPU, where compiling the network fails or does not end."""
    if cfg.SOLVER.COMPILE and device.type == "cpu":
        raise ConfigError(
            "SOLVER.COMPILE is True, but the device is a CPU, for which the network has a fast form of its own (see "
            "MODEL.MMN.PREDICTOR.IMPL): set it to False"
        )


def build_scaler(cfg: CfgNode, device: torch.device) -> torch.amp.GradScaler:
    """The scaling of the loss that keeps float16 gradients from vanishing; for other formats one that does nothing."""
    return torch.amp.GradScaler(device.type, enabled=cfg.SOLVER.AMP == "fp16")


def loss_scale(scaler: torch.amp.GradScaler, device: torch.device) -> Tensor:
    """The current scale, float32 on the device, which is not waited for; 1 where the scaler does nothing."""
    return scaler.scale(torch.ones((), device=device))


def set_tf32(enabled: bool) -> None:
    """Allow or forbid TF32 in matrix products and convolutions on GPUs. On a CPU the setting may round too: leave it."""
    torch.set_float32_matmul_precision("high" if enabled else "highest")
    torch.backends.cudnn.allow_tf32 = enabled


def set_deterministic(enabled: bool) -> None:
    """Choose algorithms that give the same bits every time (SOLVER.DETERMINISTIC); an operation without one ends the run.

    Results on the CPU do not depend on it. To be called before the first computation on a GPU.
    """
    torch.use_deterministic_algorithms(enabled)
    torch.backends.cudnn.deterministic = enabled
    torch.backends.cudnn.benchmark = False
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
