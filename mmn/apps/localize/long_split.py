"""A checkpoint on splits of long videos (MAD, Ego4D), each searched as `MomentLocalizer.localize` does.

One video is held at a time. Moments count where their IoU is above the threshold, as these benchmarks count.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from terminaltables import AsciiTable
from yacs.config import CfgNode

from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.results import QueryResult
from mmn.config.catalog_entries import CatalogEntry
from mmn.data.annotations import VideoAnnotation, iterate_sentences, sentence_qids
from mmn.data.moment_files import feature_tracks, read_split
from mmn.data.splits import Split, Splits
from mmn.engine.run import path_of_split
from mmn.evaluation.prediction_file import QueryPrediction, prediction_record, write_records
from mmn.evaluation.recall import recall_above
from mmn.utils.clock import clock
from mmn.utils.errors import UserError
from mmn.utils.logger import get_logger

RANKS = (1, 5, 10, 50, 100)


@dataclass(frozen=True)
class WindowOptions:
    """Options of `MomentLocalizer.encode_video`."""

    window: float | None = None
    overlap: float | None = None
    cache: str | None = None


def test_long(
    cfg: CfgNode, ckpt: str, options: WindowOptions, ranks: Sequence[int] = RANKS, dump: str | None = None
) -> dict[str, Mapping[str, float]]:
    """Print a table for each split of DATASETS.TEST, and return its metrics by the split's name.

    Args:
        cfg: config of the model and its splits.
        ckpt: checkpoint, model folder, or name on the hub.
        dump: prediction file to write, of the first n moments of each sentence, n the largest of `ranks`; with several
            test splits, one file per split. A split without truth has a dump and no table.
    Raises UserError where the model and a split's features do not go together, or a file cannot be read.
    """
    metrics, splits = {}, Splits(cfg).named("TEST")
    videos_of = {split.name: read_split(cfg, split) for split in splits}
    has_truth = {name: any(len(video.moments) for video in videos) for name, videos in videos_of.items()}
    for name in videos_of:
        if not has_truth[name] and dump is None:
            raise UserError(f"the split {name} has no truth to score predictions by: give --dump to write them")
    localizer = MomentLocalizer.from_checkpoint(ckpt, cfg, options=["MODEL.DEVICE", cfg.MODEL.DEVICE])
    for split in splits:
        videos = videos_of[split.name]
        found = list(search_split(localizer, cfg, split, videos, options, max(ranks)))
        if dump is not None:
            path = path_of_split(dump, split.name, len(splits))
            write_records(path, _records(videos, [result for _, results in found for result in results]))
            print(f"wrote {path}", flush=True)
        if has_truth[split.name]:
            metrics[split.name] = split_recall(found, split.entry.thresholds, ranks)
            print(format_recall(split.name, found, metrics[split.name], ranks), flush=True)
    return metrics


def search_split(
    localizer: MomentLocalizer,
    cfg: CfgNode,
    split: Split,
    videos: Sequence[VideoAnnotation],
    options: WindowOptions,
    top_k: int,
) -> Iterator[tuple[VideoAnnotation, list[QueryResult]]]:
    """The videos of a split with the moments of each of their sentences."""
    entry, features = split.entry_of(CatalogEntry, cfg), feature_tracks(cfg, split)
    features.check(video.rows_id for video in videos)
    for number, video in enumerate(videos, start=1):
        begin = time.monotonic()
        rows = features.read(video.rows_id)
        seconds = len(rows) * entry.clip_seconds if entry.clip_seconds else video.duration
        encoded = localizer.encode_video(
            rows, seconds, options.window, options.overlap, name=video.video_id, cache=options.cache
        )
        results = localizer.localize(encoded, video.sentences, top_k)
        _log(split.name, number, len(videos), video, encoded, time.monotonic() - begin)
        yield video, results


def _log(name: str, number: int, count: int, video: VideoAnnotation, encoded: EncodedVideo, seconds: float) -> None:
    get_logger().info(
        "%s: video %d of %d, %s of %s in %d windows, %d sentences, %.1f s",
        *(name, number, count, video.video_id, clock(video.duration), len(encoded.windows)),
        *(len(video.sentences), seconds),
    )


def split_recall(
    found: Sequence[tuple[VideoAnnotation, Sequence[QueryResult]]], thresholds: Sequence[float], ranks: Sequence[int]
) -> dict[str, float]:
    """Shares of a split's sentences that have truth, at least one, by the names of `recall_above`."""
    ious = [
        _prediction(video, number, result).ious().max(axis=1, initial=0.0)
        for video, results in found
        for number, result in enumerate(results)
        if len(video.windows[number])
    ]
    padded = np.zeros((len(ious), max(ranks)), dtype=np.float32)
    for row, values in zip(padded, ious, strict=True):
        row[: len(values)] = values[: max(ranks)]
    return recall_above(padded, ranks, thresholds)


def _prediction(video: VideoAnnotation, number: int, result: QueryResult) -> QueryPrediction:
    moments = np.array([(moment.start, moment.end) for moment in result.moments], dtype=np.float32).reshape(-1, 2)
    truth = video.moments_by_sentence[number]
    return QueryPrediction(result.query, video.video_id, truth, moments, [moment.score for moment in result.moments])


def _records(videos: list[VideoAnnotation], results: Sequence[QueryResult]) -> Iterator[dict[str, object]]:
    """The lines of a prediction file, of the results for all sentences in annotation order."""
    for (video, number), qid, result in zip(iterate_sentences(videos), sentence_qids(videos), results, strict=True):
        predicted = [
            [min(moment.start, video.duration), min(moment.end, video.duration), moment.score]
            for moment in result.moments
        ]
        truth = video.windows[number].tolist()
        yield prediction_record(qid, result.query, video.video_id, video.duration, truth, predicted)


def format_recall(
    name: str, found: Sequence[tuple[VideoAnnotation, Sequence]], metrics: Mapping[str, float], ranks: Sequence[int]
) -> str:
    """The table of a split: a row per IoU threshold, and how many videos, hours and sentences stand behind it."""
    durations = {video.video_id: video.duration for video, _ in found}
    hours = sum(durations.values()) / 3600
    sentences = sum(len(video.sentences) for video, _ in found)
    thresholds = list(dict.fromkeys(metric.partition("IoU>")[2] for metric in metrics))
    rows = [
        [f"IoU > {threshold}", *(f"{100 * metrics[f'R@{rank},IoU>{threshold}']:.2f}" for rank in ranks)]
        for threshold in thresholds
    ]
    table = AsciiTable([["", *(f"R@{rank}" for rank in ranks)], *rows]).table
    return f"{name}: {len(durations)} videos, {hours:.1f} hours, {sentences} sentences\n{table}"
