"""The data files of a config, before any training: checked, or resampled into a cache."""

from collections.abc import Iterable, Mapping

from yacs.config import CfgNode

from mmn.data.splits import Note, Splits
from mmn.engine.tasks import find_task
from mmn.utils.errors import ConfigError, UserError


def check_data(cfg: CfgNode) -> None:
    """Print every problem of every split that the config names; raises UserError if there are any."""
    task = find_task(cfg)
    report_problems({split.name: task.split_problems(cfg, split) for split in Splits(cfg).all()})


def cache_features(cfg: CfgNode) -> None:
    """Resample the features of all splits that the config names into DATALOADER.CACHE_DIR."""
    if not cfg.DATALOADER.CACHE_DIR:
        raise ConfigError("DATALOADER.CACHE_DIR is empty: name the folder for the clip caches")
    task = find_task(cfg)
    for split in Splits(cfg).all():
        task.write_clip_file(cfg, split)


def report_problems(problems: Mapping[str, Iterable[str]]) -> None:
    """Print every problem of every split; raises UserError with their number if there are any.

    Args:
        problems: split name -> one sentence per problem, and any `Note`, which is printed and not counted.
    """
    count = 0
    for split, sentences in problems.items():
        found = 0
        for sentence in sentences:
            print(f"{split}: {sentence}")
            found += not isinstance(sentence, Note)
        if not found:
            print(f"{split}: no problem")
        count += found
    if count:
        raise UserError(f"the datasets have {count} problems, listed above: mend them before training")
