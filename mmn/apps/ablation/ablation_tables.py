"""The table of an ablation: as markdown, csv and a figure."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmn.apps.ablation.resampling import Resampling
from mmn.apps.ablation.significance import Difference, Scores, compare_rows, mean_and_deviation
from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path
from mmn.utils.markdown import MISSING, markdown_table

CSV_COLUMNS = (
    *("row", "changes", "metric", "mean", "deviation", "seeds", "queries"),
    *("difference", "low", "high", "p", "p_holm", "seconds_per_run"),
)


@dataclass
class RowScores:
    """One row of the table before it is compared.

    Attributes:
        name: the row's.
        scores: the scores of the queries, by seed or by number of the file.
        changes: a text for readers of what the row changes.
        num_wanted: seeds that were asked for; fewer may have finished.
        seconds: training time, mean per run; None where it is not known, or where the row has no training of its own.
    """

    name: str
    scores: Mapping[object, Scores]
    changes: str = ""
    num_wanted: int = 0
    seconds: float | None = None


@dataclass
class Table:
    """Rows, and the differences of each to the first (None for the first)."""

    title: str
    rows: Sequence[RowScores]
    resampling: Resampling
    differences: list[dict[str, Difference] | None] = field(init=False)

    def __post_init__(self):
        self.differences = compare_rows([row.scores for row in self.rows], self.resampling)

    @property
    def metrics(self) -> list[str]:
        return list(next(iter(self.rows[0].scores.values())))

    @property
    def num_queries(self) -> int:
        return len(next(iter(self.rows[0].scores.values()))[self.metrics[0]])

    def summary(self, row: RowScores, metric: str) -> tuple[float, float]:
        """Mean and standard deviation over the seeds."""
        return mean_and_deviation([scores[metric].mean() for scores in row.scores.values()])

    def markdown(self) -> str:
        """Two tables, percentages: means with their deviations, then differences with interval and p value."""
        confidence = f"{100 * self.resampling.confidence:g} %"
        lines = [f"### {self.title}", "", *self._mean_lines()]
        if len(self.rows) > 1:
            lines += [
                *(
                    "",
                    f"Differences to **{self.rows[0].name}** in points, with the {confidence} interval and the p value,",
                ),
                f"corrected by Holm over the {len(self.rows) - 1} rows of a column:",
                *("", *self._difference_lines()),
            ]
        lines += ["", self._method()]
        return "\n".join(lines) + "\n"

    def _mean_lines(self) -> list[str]:
        has_seconds = any(row.seconds is not None for row in self.rows)
        header = ["%", *self.metrics, "seeds", *(["s per run"] if has_seconds else [])]
        body = []
        for row in self.rows:
            cells = [_with_deviation(*self.summary(row, metric)) for metric in self.metrics]
            num_seeds = len(row.scores)
            cells.append(f"{num_seeds} of {row.num_wanted}" if row.num_wanted > num_seeds else str(num_seeds))
            if has_seconds:
                cells.append(MISSING if row.seconds is None else f"{row.seconds:.0f}")
            body.append([row.name, *cells])
        return markdown_table(header, body)

    def _difference_lines(self) -> list[str]:
        body = []
        for row, differences in zip(self.rows[1:], self.differences[1:], strict=True):
            cells = [
                _difference_cell(differences[metric], self._is_clear(differences[metric])) for metric in self.metrics
            ]
            body.append([row.name, *cells])
        return markdown_table(["", *self.metrics], body)

    def _is_clear(self, difference: Difference) -> bool:
        return difference.p_holm < 1 - self.resampling.confidence

    def _method(self) -> str:
        resampling, most = self.resampling, max(len(row.scores) for row in self.rows)
        seeds = (
            "over seeds (± is their standard deviation); queries and seeds are resampled"
            if most > 1
            else "of one run per row, so that chance between seeds is not in the intervals; queries are resampled"
        )
        return (
            f"Means over {self.num_queries} queries and {seeds}, paired, {resampling.count} times "
            f"(seed {resampling.seed}); bold: p below {1 - resampling.confidence:.2g}."
        )

    def csv(self) -> str:
        """One line per row and metric, all values as shares (not percentages)."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for row, differences in zip(self.rows, self.differences, strict=True):
            for metric in self.metrics:
                numbers = [*self.summary(row, metric), len(row.scores), self.num_queries]
                difference = differences[metric] if differences else None
                numbers += list(vars(difference).values()) if difference else [math.nan] * 5
                numbers.append(math.nan if row.seconds is None else row.seconds)
                writer.writerow(
                    [row.name, row.changes, metric, *("" if value != value else value for value in numbers)]
                )
        return text.getvalue()

    def write(self, stem: str, with_figure: bool) -> list[str]:
        """`<stem>.md`, `.csv` and, where asked for and there is more than one row, `.png` -> the files written."""
        for suffix, text in ((".md", self.markdown()), (".csv", self.csv())):
            with atomic_path(stem + suffix) as temporary, open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
        written = [stem + ".md", stem + ".csv"]
        if with_figure and len(self.rows) > 1:
            self.draw(stem + ".png")
            written.append(stem + ".png")
        return written

    def draw(self, path: str) -> None:
        """A figure of the differences with their intervals, one panel per metric of the first prediction; a filled point
        has a corrected p value below the level.

        Raises UserError where matplotlib is missing.
        """
        figure_class = load_figure()
        shown = [metric for metric in self.metrics if metric.startswith("R@1,") or metric == "mIoU"]
        figure = figure_class(figsize=(3.2 * len(shown) + 2.5, 0.32 * len(self.rows) + 1.4), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        places = np.arange(len(self.rows) - 1)[::-1]
        for axes, metric in zip(panels, shown, strict=True):
            self._draw_panel(axes, places, metric)
        panels[0].set_ylim(-0.6, len(places) - 0.4)
        panels[0].set_yticks(places, [row.name for row in self.rows[1:]])
        figure.suptitle(f"{self.title}: difference to {self.rows[0].name}", fontsize=10)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)

    def _draw_panel(self, axes, places: np.ndarray, metric: str) -> None:
        differences = [differences[metric] for differences in self.differences[1:]]
        values, low, high = (
            100 * np.array([getattr(difference, name) for difference in differences])
            for name in ("value", "low", "high")
        )
        colors = ["tab:blue" if self._is_clear(difference) else "white" for difference in differences]
        axes.axvline(0, color="0.6", linewidth=0.8)
        axes.hlines(places, low, high, color="tab:blue", linewidth=1.5)
        axes.scatter(values, places, c=colors, edgecolors="tab:blue", zorder=3)
        axes.set_xlabel("points")
        axes.set_title(metric, fontsize=9)
        axes.grid(axis="x", alpha=0.3)


def load_figure():
    """matplotlib's Figure class; a UserError says how to get it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("the figure needs matplotlib: pip install .[plots], or ask for no figure") from error
    return Figure


def _with_deviation(mean: float, deviation: float) -> str:
    return f"{100 * mean:.2f}" + ("" if math.isnan(deviation) else f" ± {100 * deviation:.2f}")


def _difference_cell(difference: Difference, is_clear: bool) -> str:
    value = f"{100 * difference.value:+.2f}"
    interval = f"[{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"
    return f"{f'**{value}**' if is_clear else value} {interval} p {difference.p_holm:.2g}"
