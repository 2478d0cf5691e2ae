"""Finding what a training begins with: new weights, given ones, or a checkpoint of its own folder, whose run goes on."""

import enum
import os
from dataclasses import dataclass

from yacs.config import CfgNode

from mmn.utils import comm
from mmn.utils.checkpoint import CheckpointFolder, load_checkpoint
from mmn.utils.logger import get_logger


@dataclass(frozen=True)
class StartingPoint:
    """Weights that a training begins with, and whether it goes on with their run.

    Attributes:
        source: the checkpoint file; None for new weights under the pretrained text encoder.
        resumes: whether the file's run goes on; otherwise a new run takes its weights.
    """

    source: str | None
    resumes: bool

    def load(self) -> dict | None:
        """The content of the checkpoint, where there is one."""
        return None if self.source is None else load_checkpoint(self.source)


class Beginning(enum.Enum):
    """Way in which a training was started."""

    NEW = enum.auto()
    RESUMED = enum.auto()  # SOLVER.RESUME: from where the folder's run stopped
    REWOUND = enum.auto()  # SOLVER.RESUME with RESUME_EPOCH: from an earlier epoch of it
    RESTARTED = enum.auto()  # by torchrun, after an attempt that failed: from where that one stopped


def find_starting_point(cfg: CfgNode) -> StartingPoint:
    """Find what this training begins with, and leave OUTPUT_DIR such that a restart finds the same.

    Called on all processes.

    Raises UserError where the processes see different checkpoints.
    """
    beginning, folder = _beginning(cfg), CheckpointFolder(cfg.OUTPUT_DIR, cfg.MODEL.MMN.FEAT2D.NAME)
    start = _choose(cfg, beginning, folder)
    comm.agreed(start, f"the processes see different checkpoints in OUTPUT_DIR {cfg.OUTPUT_DIR}")
    if comm.get_rank() == 0:
        _mark(beginning, folder, start)
    if cfg.SOLVER.RESUME and not start.resumes:
        get_logger().info("SOLVER.RESUME: no checkpoint in %s yet, starting afresh", cfg.OUTPUT_DIR)
    return start


def _beginning(cfg: CfgNode) -> Beginning:
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0:
        return Beginning.RESTARTED
    if not cfg.SOLVER.RESUME:
        return Beginning.NEW
    return Beginning.REWOUND if cfg.SOLVER.RESUME_EPOCH > 1 else Beginning.RESUMED


def _choose(cfg: CfgNode, beginning: Beginning, folder: CheckpointFolder) -> StartingPoint:
    """Decide, and change nothing. A folder without a checkpoint begins as a new run does."""
    if beginning is Beginning.REWOUND:
        return StartingPoint(folder.epoch_path(cfg.SOLVER.RESUME_EPOCH - 1), resumes=True)
    last = None if beginning is Beginning.NEW else folder.last_path()
    if last is not None:
        return StartingPoint(last, resumes=True)
    return StartingPoint(cfg.SOLVER.INIT_WEIGHTS or None, resumes=False)


def _mark(beginning: Beginning, folder: CheckpointFolder, start: StartingPoint) -> None:
    """Make the folder's last checkpoint the starting point, for a restart that comes before the first one is written."""
    if beginning is Beginning.NEW:
        folder.start_afresh()
    elif beginning is Beginning.REWOUND:
        folder.set_last(start.source)
