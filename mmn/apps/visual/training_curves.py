"""Training curves from a run's metrics.jsonl."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmn.apps.visual.style import SERIES, TRUTH
from mmn.evaluation.recall import SELECTION_METRIC, VALIDATION_LOSS
from mmn.utils.errors import DataError, failed_read, listed
from mmn.utils.logger import get_logger
from mmn.utils.text_files import is_number, numbered_lines, parse_json, read_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEARNING_RATES = ("lr", "bert_lr")
OTHERS = ("grad_norm", "videos_per_s", "data_wait", "memory_mb", "num_skipped")  # of a training row, no losses


def read_metrics(path: str) -> list[dict]:
    """The rows of a metrics.jsonl, in file order, each with kind, epoch and step and otherwise numbers.

    A last line that a crash has cut off is left out. Numbers that are not finite, as a loss that diverged, are NaN, and
    the log says how many. Raises DataError where the file cannot be read or has no row.
    """
    try:
        lines = list(numbered_lines(read_text(path)))
    except (OSError, UnicodeDecodeError) as error:
        reason = failed_read(error) if isinstance(error, OSError) else error
        raise DataError(f"the metrics file {path} cannot be read ({reason}): name a run's metrics.jsonl") from error
    rows = []
    for place, (number, line) in enumerate(lines, start=1):
        try:
            rows.append(_checked_row(parse_json(line)))
        except (ValueError, KeyError, TypeError) as error:
            if place == len(lines) and rows:
                break
            raise DataError(f"line {number} of {path} is no row of metrics ({error}): name a metrics.jsonl") from error
    if not rows:
        raise DataError(f"the metrics file {path} has no row: nothing was trained or evaluated yet")
    gaps = [name for row in rows for name, value in row.items() if value != value]
    if gaps:
        names = listed(dict.fromkeys(gaps))
        get_logger().warning("%d numbers of %s (%s) are not finite: gaps in the curves", len(gaps), path, names)
    return rows


def _checked_row(row: object) -> dict:
    kind, place = row["kind"], {key: row[key] for key in ("epoch", "step")}
    if not isinstance(kind, str):
        raise ValueError("kind must be a text")
    if not all(map(is_number, place.values())):
        raise ValueError(f"epoch {place['epoch']!r} and step {place['step']!r} must be finite numbers")
    return {key: value if key == "kind" else _finite(key, value) for key, value in row.items()}


def _finite(key: str, value: object) -> float:
    if is_number(value):
        return float(value)
    if isinstance(value, float):  # written as NaN or Infinity
        return math.nan
    raise ValueError(f"{key} is {value!r}, no number")


def draw_training(figure: "Figure", rows: Sequence[dict]) -> None:
    """Losses, recall of the evaluations, learning rates, and gradient norm, against the epoch."""
    training = [row for row in rows if row["kind"] == "train"]
    evaluations = [row for row in rows if row["kind"].startswith("eval/")]
    (losses, recall), (rates, norm) = figure.subplots(2, 2, sharex=True, height_ratios=[1.6, 1])
    times, eval_times = _epochs(rows, training), _epochs(rows, evaluations)
    other = {"kind", "epoch", "step", *LEARNING_RATES, *OTHERS}
    _draw_lines(losses, times, training, [name for name in _names(training) if name not in other])
    _draw_lines(rates, times, training, [name for name in LEARNING_RATES if name in _names(training)])
    _draw_lines(norm, times, training, ["grad_norm"] if "grad_norm" in _names(training) else [])
    losses.set(title="Training losses, unweighted parts and their weighted sum", ylabel="loss")
    rates.set(title="Learning rate", ylabel="learning rate", xlabel="epoch")
    norm.set(title="Gradient norm before clipping", ylabel="L2 norm", xlabel="epoch")
    _draw_evaluations(recall, eval_times, evaluations)


def _names(rows: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _epochs(rows: Sequence[dict], chosen: Sequence[dict]) -> np.ndarray:
    """Places of rows on an axis of epochs: the end of epoch e is e, and steps in between lie in proportion."""
    ends = {row["epoch"]: 0.0 for row in rows}
    for row in rows:
        ends[row["epoch"]] = max(ends[row["epoch"]], row["step"])
    places = []
    for row in chosen:
        before = max((end for epoch, end in ends.items() if epoch < row["epoch"]), default=0.0)
        span = ends[row["epoch"]] - before
        places.append(row["epoch"] - 1 + ((row["step"] - before) / span if span > 0 else 1.0))
    return np.array(places)


def _draw_lines(axes: "Axes", times: np.ndarray, rows: Sequence[dict], names: Sequence[str]) -> None:
    """One line per name on a logarithmic axis; values that are not above 0 are left out."""
    for name, color in zip(names, SERIES, strict=False):
        values = np.array([row.get(name, math.nan) for row in rows])
        values[~(values > 0)] = math.nan
        axes.plot(times, values, color=color, lw=1.8, label=name)
    _finish(axes, names)
    if names:
        axes.set_yscale("log")


def _draw_evaluations(axes: "Axes", times: np.ndarray, rows: Sequence[dict]) -> None:
    """Every split's R@1 and R@5 (%) at IoU 0.5 and 0.7, and the best evaluation."""
    names = [name for name in _names(rows) if name.endswith(("IoU@0.5", "IoU@0.7"))]
    if rows and not names:  # thresholds or a task of their own
        names = [name for name in _names(rows) if name not in ("kind", "epoch", "step", VALIDATION_LOSS)][: len(SERIES)]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    for kind, line in zip(kinds, ("-", "--", ":", "-."), strict=False):
        here = np.array([row["kind"] == kind for row in rows])
        for name, color in zip(names, SERIES, strict=False):
            values = np.array([100 * row.get(name, math.nan) for row in rows])[here]
            label = name if len(kinds) == 1 else f"{name}, {kind.removeprefix('eval/')}"
            axes.plot(times[here], values, line, marker="o", ms=4, color=color, lw=1.8, label=label)
    scores = [row.get(SELECTION_METRIC, math.nan) for row in rows]
    title = "Evaluation on " + ", ".join(kind.removeprefix("eval/") for kind in kinds) if kinds else "No evaluation yet"
    if not all(map(math.isnan, scores)):
        best = int(np.nanargmax(scores))
        axes.axvline(times[best], color=TRUTH, lw=1.5, ls=":")
        title += f"; dotted, the best: epoch {rows[best]['epoch']:.0f}"
    axes.set(title=title, ylabel="share of the queries (%)")
    _finish(axes, names)


def _finish(axes: "Axes", names: Sequence[str]) -> None:
    axes.grid()
    if len(names) > 1:
        axes.legend(fontsize=9)
