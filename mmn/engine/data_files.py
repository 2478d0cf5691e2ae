"""The data files of a config, before any training: checked, or resampled into a cache."""

from yacs.config import CfgNode

from mmn.data.check_split import report_problems
from mmn.data.loaders import all_splits
from mmn.engine.tasks import find_task
from mmn.utils.errors import ConfigError


def check_data(cfg: CfgNode) -> None:
    """Print every problem of every split that the config names; raises UserError if there are any."""
    task = find_task(cfg)
    report_problems({split: task.split_problems(cfg, split) for split in all_splits(cfg)})


def cache_features(cfg: CfgNode) -> None:
    """Resample the features of all splits that the config names into DATALOADER.CACHE_DIR."""
    if not cfg.DATALOADER.CACHE_DIR:
        raise ConfigError("DATALOADER.CACHE_DIR is empty: name the folder for the clip caches")
    task = find_task(cfg)
    for split in all_splits(cfg):
        task.write_clip_file(cfg, split)
