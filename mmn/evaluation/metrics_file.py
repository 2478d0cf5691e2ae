"""Metrics files: what a test of a checkpoint found, on which splits, and of which weights (`mmn test --metrics-out`).

{"format": "mmn-metrics 1", "weights_sha256": ..., "mmn_version": ..., "git_revision": ..., "settings": {TEST},
 "splits": [{"split", "dataset", "videos", "sentences", "metrics": {"R@1,IoU@0.5": a share, ...}}]}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmn.utils.errors import DataError, failed_read
from mmn.utils.files import atomic_path
from mmn.utils.revision import git_revision
from mmn.utils.text_files import parse_json, read_text
from mmn.utils.version import VERSION

FORMAT = "mmn-metrics 1"


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics of one split.

    Attributes:
        split, dataset: its name, and DATASETS.NAME.
        videos, sentences: numbers of those that were tested.
        metrics: shares by name, as `mmn test` prints them in percent.
    """

    split: str
    dataset: str
    videos: int
    sentences: int
    metrics: Mapping[str, float]


def write_metrics(path: str, weights_sha256: str, settings: Mapping[str, Any], splits: list[SplitMetrics]) -> None:
    """Write a metrics file; `settings` is the config's TEST section. Raises UserError where it cannot be written."""
    content = {
        "format": FORMAT,
        "weights_sha256": weights_sha256,
        "mmn_version": VERSION,
        "git_revision": git_revision(),
        "settings": dict(settings),
        "splits": [asdict(split) for split in splits],
    }
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def read_metrics(path: str) -> dict[str, Any]:
    """The content of a metrics file. Raises DataError where it is none."""
    try:
        content = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the metrics file {path} cannot be read ({failed_read(error)}): make it by test_net.py --metrics-out"
        ) from error
    check_metrics(content, path)
    return content


def check_metrics(content: Any, where: str) -> None:
    """Raise DataError unless a value is the content of a metrics file."""
    try:
        if content["format"] != FORMAT or not content["weights_sha256"]:
            raise KeyError("format")
        for split in content["splits"]:
            SplitMetrics(**split)
    except (KeyError, TypeError) as error:
        raise DataError(f"{where} is no metrics file ({error}): write it by test_net.py --metrics-out") from error
