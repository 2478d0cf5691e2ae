"""The picture of one query: its timeline and, where they are known, its maps."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from mmn.apps.visual.prediction_statistics import video_duration
from mmn.apps.visual.score_map import draw_score_map
from mmn.apps.visual.style import plain_text
from mmn.apps.visual.timeline import draw_timeline
from mmn.evaluation.map_file import SentenceMaps
from mmn.evaluation.prediction_file import QueryPrediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 12.0  # inches
NUM_SHOWN = 5  # predictions on the timeline
MAP_TITLES = {"contrastive": "Contrastive score (cosine)", "iou": "IoU score", "final": "Final score"}


def query_height(num_predictions: int, with_maps: bool) -> float:
    """Inches that the picture of a query with so many predictions takes."""
    return 1.75 + 0.28 * min(max(num_predictions, 1), NUM_SHOWN) + (3.7 if with_maps else 0)


def draw_query(
    figure: "Figure", record: QueryPrediction, maps: SentenceMaps | None = None, mask: np.ndarray | None = None
) -> None:
    """Draw a query on a figure of WIDTH x `query_height`.

    Args:
        maps: the query's, with the cells `mask` [N, N] bool.
    """
    upper, lower = figure, None
    if maps is not None:
        upper, lower = figure.subfigures(2, 1, height_ratios=[query_height(len(record.moments), False), 3.7])
    duration = video_duration(record)
    truth, moments = record.truth, record.moments[:NUM_SHOWN]
    ious = record.ious().max(axis=1).tolist()[:NUM_SHOWN]
    axes = upper.subplots()
    draw_timeline(axes, duration, moments, record.scores[:NUM_SHOWN], truth, ious)
    title = textwrap.fill(f"“{plain_text(record.query)}”", width=100)
    where = f"video {plain_text(record.video_id, 60)}, {duration:.1f} s" + ("" if record.duration else " or longer")
    name = "" if record.qid is None else f"query {plain_text(str(record.qid), 40)}, "
    axes.set_title(f"{title}\n{name}{where}", parse_math=False)
    if maps is not None:
        # Of a model with one score, that is the final one.
        titles = MAP_TITLES if maps.contrastive is not None else {"final": MAP_TITLES["final"]}
        for panel, (key, label) in zip(np.ravel(lower.subplots(1, len(titles))), titles.items(), strict=True):
            draw_score_map(panel, getattr(maps, key), mask, duration, label, moments, truth)
