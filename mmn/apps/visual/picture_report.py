"""All pictures of a prediction file and of a run, as png files and one html page (tools/visualize.py)."""

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mmn.apps.visual import charts
from mmn.apps.visual.html_page import Section, write_page
from mmn.apps.visual.prediction_statistics import KINDS, QueryStatistics, error_kinds, query_statistics
from mmn.apps.visual.query_choice import CHOICES, QueryChoice
from mmn.apps.visual.query_picture import WIDTH, draw_query, query_height
from mmn.apps.visual.style import plain_text, save_png, styled_figure
from mmn.apps.visual.training_curves import draw_training, read_metrics
from mmn.evaluation.map_file import MapFile
from mmn.evaluation.prediction_file import QueryPrediction, read_predictions
from mmn.evaluation.score_file import score_predictions
from mmn.utils.errors import DataError, UserError
from mmn.utils.files import make_folder
from mmn.utils.logger import get_logger

THRESHOLDS = (0.3, 0.5, 0.7)
# File name, function, height in inches (the width is that of all pictures), caption.
CHARTS = (
    (
        "recall_by_moment",
        charts.draw_recall_by_moment,
        4.6,
        "Recall against the length of the true moment, in groups of about equally many queries, with 95% intervals.",
    ),
    (
        "recall_by_query",
        charts.draw_recall_by_query,
        4.6,
        "Recall against the words of the query and against the length of the video.",
    ),
    ("iou", charts.draw_ious, 4.4, "How well the predictions fit, and how recall depends on what counts as a hit."),
    (
        "errors",
        charts.draw_errors,
        4.6,
        "Where errors lie. Wrong place: no overlap with the truth. Too long: at least twice as many seconds outside the "
        "true moment as are missing of it; too short: the reverse; shifted: neither.",
    ),
    (
        "places",
        charts.draw_places,
        5.2,
        "Where moments lie in their videos. What the model prefers beyond the data shows as a difference.",
    ),
    ("confidence", charts.draw_confidence, 4.4, "IoU of the first prediction against its score, in ten equal groups."),
)


def write_report(
    folder: str,
    predictions: str | None = None,
    truth: str | None = None,
    maps: str | None = None,
    metrics: str | None = None,
    choice: QueryChoice | None = None,
    missing_as_wrong: bool = False,
) -> str:
    """Write png files and index.html into `folder`, and return the path of the page.

    Args:
        predictions: a prediction file.
        truth: see `read_predictions`.
        maps: the map file that goes with it; queries with pictures are then chosen among those that it holds.
        metrics: a run's metrics.jsonl.
        choice: the queries that get pictures.
    Raises UserError where a file cannot be used, or predictions and maps are not of the same sentences.
    """
    if predictions is None and metrics is None:
        raise UserError("there is nothing to draw: give --predictions FILE, or --metrics FILE, or both")
    if predictions is None and (maps or truth):
        raise UserError("--maps and --truth go with --predictions FILE: give that too")
    sections, notes = [], []
    if predictions is not None:
        records = read_predictions(predictions, truth, missing_as_wrong)
        map_file = MapFile(maps) if maps else None
        statistics = query_statistics(records)
        chosen = list(
            _choose(records, statistics, map_file, choice or QueryChoice())
        )  # before any work that would be lost
        sections += _statistics_sections(folder, records, statistics)
        sections += _query_sections(folder, records, statistics, map_file, chosen)
        notes.append(f"{len(records)} queries of {predictions}.")
    if metrics is not None:
        rows = read_metrics(metrics)
        picture = _draw(folder, "training", 7.2, lambda figure: draw_training(figure, rows))
        sections.append(Section("Training", f"From {metrics}.", [(picture, "Training curves.")]))
        notes.append(f"Training curves of {metrics}.")
    page = os.path.join(folder, "index.html")
    write_page(page, f"Moments of {os.path.basename(predictions or metrics)}", " ".join(notes), sections)
    get_logger().info("wrote %s, with %d pictures", page, sum(len(section.pictures) for section in sections))
    return page


def draw_queries(
    folder: str, predictions: str, maps: str, choice: QueryChoice, truth: str | None = None
) -> list[tuple[str, str]]:
    """Draw pictures of queries whose maps are in a file -> their paths and captions; arguments as `write_report`."""
    records, map_file = read_predictions(predictions, truth), MapFile(maps)
    statistics = query_statistics(records)
    chosen = list(_choose(records, statistics, map_file, choice))
    sections = _query_sections(folder, records, statistics, map_file, chosen)
    return [picture for section in sections for picture in section.pictures]


def _draw(folder: str, name: str, height: float, draw: Callable) -> str:
    """Draw a picture as `folder/name.png` and return its path."""
    make_folder(folder, "--out")
    path = os.path.join(folder, f"{name}.png")
    with styled_figure(WIDTH, height) as figure:
        draw(figure)
        save_png(figure, path)
    return path


def _statistics_sections(folder: str, records: Sequence[QueryPrediction], statistics: QueryStatistics) -> list[Section]:
    """The table of metrics and the charts of all queries."""
    scores = {name: f"{100 * value:.2f}" for name, value in score_predictions(records, THRESHOLDS).items()}
    pictures = [
        (_draw(folder, name, height, lambda figure, draw=draw: draw(figure, statistics)), caption)
        for name, draw, height, caption in CHARTS
    ]
    return [Section("Scores", "In percent.", table=scores), Section("All queries", pictures=pictures)]


def _query_sections(
    folder: str,
    records: Sequence[QueryPrediction],
    statistics: QueryStatistics,
    map_file: MapFile | None,
    chosen: Sequence[tuple[str, str, list[int]]],
) -> list[Section]:
    """A section per kind of choice, with the pictures of its queries."""
    kinds = error_kinds(statistics, 0.5)
    sections = []
    for title, note, positions in chosen:
        pictures = []
        for position in positions:
            record = records[position]
            iou, kind = statistics.first_ious[position], KINDS[kinds[position]]
            caption = f"{plain_text(record.query)} IoU of the first prediction: {iou:.2f} ({kind})."
            pictures.append((_draw_query(folder, position, record, map_file), caption))
        sections.append(Section(title, note, pictures))
    return sections


def _with_maps(records: Sequence[QueryPrediction], map_file: MapFile) -> np.ndarray:
    """Positions of the records whose maps are in the file; raises DataError where it holds other sentences."""
    positions = [position for position, record in enumerate(records) if record.qid in map_file.ids]
    if not positions:
        raise DataError(f"{map_file.path} has the maps of none of the predicted queries: name the file of the same run")
    for position in positions:
        record = records[position]
        if map_file.sentence(record.qid) != (record.video_id, record.query):
            raise DataError(
                f"query {record.qid} is {record.query!r} of video {record.video_id} in the predictions, but "
                f"{map_file.sentence(record.qid)} in {map_file.path}: name the map file of the same split"
            )
    return np.array(positions)


def _choose(
    records: Sequence[QueryPrediction], statistics: QueryStatistics, map_file: MapFile | None, choice: QueryChoice
) -> Iterable[tuple[str, str, list[int]]]:
    """(title, note, positions) per section."""
    candidates = _with_maps(records, map_file) if map_file else np.arange(len(records))
    among = f" Chosen among the {len(candidates)} queries whose maps are in {map_file.path}." if map_file else ""
    if choice.qids:
        yield "Queries", "As asked for.", _positions_of(records, choice.qids)
        return
    ranked = candidates[np.argsort(statistics.first_ious[candidates], kind="stable")]
    orders = {
        "worst": ranked,
        "best": ranked[::-1],
        "random": np.random.default_rng(choice.seed).permutation(candidates),
        "first": candidates,
    }
    for kind in choice.kinds if choice.count else ():
        yield f"Queries: {kind}", f"{CHOICES[kind].capitalize()}.{among}", orders[kind][: choice.count].tolist()


def _positions_of(records: Sequence[QueryPrediction], qids: Sequence[str]) -> list[int]:
    places = {str(record.qid): position for position, record in enumerate(records)}
    missing = [qid for qid in qids if qid not in places]
    if missing:
        raise DataError(
            f"the prediction file has no query with the qid {missing[0]}: it has {', '.join(list(places)[:3])} ..."
        )
    return [places[qid] for qid in qids]


def _draw_query(folder: str, position: int, record: QueryPrediction, map_file: MapFile | None) -> str:
    maps = map_file.maps(record.qid) if map_file and record.qid in map_file.ids else None
    mask = map_file.cells.mask.numpy() if maps else None
    height = query_height(len(record.moments), maps is not None)
    return _draw(folder, f"query_{position:06d}", height, lambda figure: draw_query(figure, record, maps, mask))
