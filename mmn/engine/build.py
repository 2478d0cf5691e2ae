"""cfg -> task."""

from yacs.config import CfgNode

from mmn.engine.moment_task import MomentTask
from mmn.engine.task import Task
from mmn.engine.tube_task import TubeTask
from mmn.utils.registry import Registry

TASKS = Registry("MODEL.ARCHITECTURE")
TASKS.register("MMN")(MomentTask)
TASKS.register("STVG")(TubeTask)


def build_task(cfg: CfgNode) -> Task:
    """The task of MODEL.ARCHITECTURE. Raises ConfigError where the config does not suit it."""
    task = TASKS[cfg.MODEL.ARCHITECTURE](cfg)
    task.validate()
    return task
