"""The folder of a run: made, locked, and refused where it belongs to another run."""

import os
from collections.abc import Sequence

from yacs.config import CfgNode

from mmn.config.load import config_values, load_config
from mmn.utils import comm
from mmn.utils.checkpoint import CheckpointFolder
from mmn.utils.errors import UserError
from mmn.utils.files import FolderLock, atomic_path, make_folder, remove_leftovers
from mmn.utils.logger import get_logger

CONFIG_FILE = "config.yml"
# Keys, and sections ending in a dot, that a run may change when it goes on: where things are, how much is computed at
# once and how fast, how long it goes on and what it leaves behind.
CHANGEABLE = (
    "OUTPUT_DIR",
    "PATHS_CATALOG",
    "DATASETS.NAME",
    "DATASETS.ROOT",
    "DATALOADER.",
    "TEST.BATCH_SIZE",
    "MODEL.DEVICE",
    "MODEL.MMN.PREDICTOR.IMPL",
    "MODEL.MMN.PREDICTOR.KEPT_MB",
    "MODEL.MMN.PREDICTOR.CHECKPOINT_ACTIVATIONS",
    "MODEL.MMN.PREDICTOR.CHANNELS_LAST",
    "MODEL.MMN.TEXT_ENCODER.PRETRAINED",
    "MODEL.TAN2D.TEXT.GLOVE",
    "SOLVER.RESUME",
    "SOLVER.RESUME_EPOCH",
    "SOLVER.INIT_WEIGHTS",
    "SOLVER.MAX_EPOCH",
    "SOLVER.TEST_PERIOD",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.CHECKPOINT_ITERS",
    "SOLVER.CHECKPOINT_KEEP",
    "SOLVER.SKIP_TEST",
    "SOLVER.LOG_PERIOD",
    "SOLVER.TRACKER",
    "SOLVER.AMP",
    "SOLVER.TF32",
    "SOLVER.COMPILE",
    "SOLVER.ACCUMULATE",
    "SOLVER.SKIP_NONFINITE",
    "SOLVER.DETERMINISTIC",
    "SOLVER.TIMEOUT_MINUTES",
)
NUM_KEYS_LISTED = 10


def prepare_output_dir(cfg: CfgNode) -> FolderLock | None:
    """Make OUTPUT_DIR and write the whole config there as config.yml. Called on all processes.

    Returns the lock, to be held as long as the run lasts (rank 0). Raises UserError where the folder cannot be written,
    another process is writing there, or its checkpoints were made with another config.
    """
    make_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR")
    if comm.get_rank() != 0:
        return None
    lock = FolderLock(cfg.OUTPUT_DIR, place="OUTPUT_DIR")
    refuse_other_config(cfg)
    remove_leftovers(cfg.OUTPUT_DIR)
    with atomic_path(os.path.join(cfg.OUTPUT_DIR, CONFIG_FILE)) as temporary, open(temporary, "w") as file:
        file.write(cfg.dump())
    return lock


def refuse_other_config(cfg: CfgNode, changeable: Sequence[str] = CHANGEABLE) -> None:
    """Raise UserError where OUTPUT_DIR has checkpoints of a config that differs in more than `changeable` keys."""
    path = os.path.join(cfg.OUTPUT_DIR, CONFIG_FILE)
    folder = CheckpointFolder(cfg.OUTPUT_DIR, cfg.MODEL.MMN.FEAT2D.NAME)
    if not os.path.isfile(path) or not folder.has_any():
        return
    before, now = config_values(load_config(path)), config_values(cfg)
    changed = [key for key in now if now[key] != before[key]]
    other = [key for key in changed if not _is_changeable(key, cfg, changeable)]
    if other:
        shown = ", ".join(f"{key} {before[key]!r}, now {now[key]!r}" for key in other[:NUM_KEYS_LISTED])
        raise UserError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds the checkpoints of another config ({len(other)} keys differ: {shown}"
            f"{', ...' if len(other) > NUM_KEYS_LISTED else ''}): choose another OUTPUT_DIR, or take these values back"
        )
    told = [key for key in changed if not key.startswith("SOLVER.RESUME")]
    if told:
        get_logger().info("changed since the run began: %s", ", ".join(told))


def _is_changeable(key: str, cfg: CfgNode, changeable: Sequence[str]) -> bool:
    if key == "SOLVER.MAX_EPOCH" and cfg.SOLVER.SCHEDULE == "cosine":  # the learning rate of every epoch depends on it
        return False
    return any(key.startswith(name) if name.endswith(".") else key == name for name in changeable)
