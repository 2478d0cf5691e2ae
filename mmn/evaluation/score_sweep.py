"""One forward pass over a split, scored under many settings of TEST (`tools/test_net.py --sweep`)."""

import csv
import io
import itertools
import json
from collections.abc import Sequence
from typing import Any

from terminaltables import AsciiTable
from torch import Tensor
from yacs.config import CfgNode

from mmn.config.load import config_keys, override_config
from mmn.evaluation.inference import MomentRanker, Predictions
from mmn.evaluation.sweep_words import SWEEPABLE
from mmn.structures.batch import GroundingBatch
from mmn.utils.errors import ConfigError, nearest
from mmn.utils.files import atomic_path

FORMATS = (".csv", ".json")


class SweepRanker:
    """Several rankers over the same scores. A batch's scores are computed once and forgotten with it; what stays of a
    setting are its ranked moments."""

    def __init__(self, rankers: Sequence[MomentRanker]):
        self.rankers = rankers

    def __call__(self, output: Any, batch: GroundingBatch) -> tuple[Tensor, ...]:
        """Moments and scores of the first ranker, then those of the second, ..., see `MomentRanker`."""
        scores = self.rankers[0].head_scores(output, batch)
        ranked = [
            ranker.rank(*scores, batch.sentence_durations)  # type: ignore[call-arg]  # as many as heads
            for ranker in self.rankers
        ]
        return tuple(itertools.chain.from_iterable(ranked))

    def no_rows(self) -> tuple[Tensor, ...]:
        return tuple(itertools.chain.from_iterable(ranker.no_rows() for ranker in self.rankers))

    def predictions(self, sentence_ids: Tensor, *columns: Tensor) -> list[Predictions]:
        """One for each ranker."""
        return [Predictions(sentence_ids, *pair) for pair in zip(columns[::2], columns[1::2], strict=True)]


def sweep_grid(cfg: CfgNode, settings: Sequence[str]) -> list[tuple[dict[str, object], CfgNode]]:
    """Every combination of the values of `settings`, each KEY=V1,V2,..., the last key varying fastest.

    Returns the swept keys with their values, and the config with these. Raises ConfigError for a key that needs another
    forward pass, an empty value or one of another type.
    """
    if not settings:
        raise ConfigError(f"--sweep names no values: write KEY=V1,V2 with a KEY of {', '.join(SWEEPABLE)}")
    values: dict[str, list[str]] = {}
    for setting in settings:
        key, _, texts = setting.partition("=")
        if key not in SWEEPABLE:
            reason = (
                "needs a forward pass of its own" if key in config_keys() else f"is unknown{nearest(key, [*SWEEPABLE])}"
            )
            raise ConfigError(f"--sweep {setting}: {key} {reason}; what can be swept is {', '.join(SWEEPABLE)}")
        if key in values:
            raise ConfigError(f"--sweep gives {key} twice: put all its values into one list")
        values[key] = [text.strip() for text in texts.split(",")]
        if not all(values[key]):
            raise ConfigError(f"--sweep {setting} has an empty value: write {key}=V1,V2")
    grid = []
    for combination in itertools.product(*values.values()):
        options = [word for pair in zip(values, combination, strict=True) for word in pair]
        varied = override_config(cfg, options)
        grid.append(({key: varied.TEST[key.removeprefix("TEST.")] for key in values}, varied))
    return grid


def format_sweep(rows: Sequence[dict[str, Any]], keys: Sequence[str], title: str) -> str:
    """A table with a row per setting: the swept keys as they are, the metrics (shares) as percentages."""
    metrics = [name for name in rows[0] if name not in keys]
    lines = [[*(str(row[key]) for key in keys), *(f"{100 * row[name]:.2f}" for name in metrics)] for row in rows]
    head = [key.removeprefix("TEST.") for key in keys] + metrics
    return AsciiTable([head, *lines], f" {title} ").table


def check_sweep_file(path: str) -> None:
    """Raise ConfigError where the name does not say a format."""
    if not path.endswith(FORMATS):
        raise ConfigError(f"--sweep-out {path} must end in {' or '.join(FORMATS)}, which says its format: rename it")


def write_sweep(path: str, rows: Sequence[dict[str, object]]) -> None:
    """Write the rows (metrics as shares) as csv or json, by the extension of `path`."""
    if path.endswith(".json"):
        text = json.dumps(rows, indent=1) + "\n"
    else:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    with atomic_path(path) as temporary, open(temporary, "w") as file:
        file.write(text)
