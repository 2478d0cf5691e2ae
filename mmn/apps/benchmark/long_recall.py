"""Recall in long videos: synthetic videos joined to one of minutes or hours, searched by all their sentences.

What a sentence says may happen more than once in an hour. One place is annotated and right; beside it stands the recall
where every place of the same concepts counts, and the ceiling: the mean of 1 over the number of such places, which is what
a perfect search gets at the annotated one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from terminaltables import AsciiTable

from mmn.apps.benchmark.batch_sizes import LONG_VIDEO_MINUTES
from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.find_then_ground import FindThenGround, find_then_ground
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.results import LocalizedMoment
from mmn.apps.synthetic.joined_videos import JoinedVideo, join_videos
from mmn.apps.synthetic.options import SyntheticOptions
from mmn.structures.moments import temporal_iou

TOP_K = 5
IOU, STRICT_IOU = 0.5, 0.7
ALL_CELLS = 2**62
LEAST_SECONDS = 60.0 * max(LONG_VIDEO_MINUTES)  # in all: every length is asked the same sentences, up to the last video
COLUMNS = (
    "minutes",
    "windows",
    "search",
    f"R@1,IoU@{IOU}",
    "any such place",
    f"R@1,IoU@{STRICT_IOU}",
    f"R@{TOP_K},IoU@{IOU}",
)


def searches(localizer: MomentLocalizer) -> dict[str, tuple[bool, FindThenGround]]:
    """By name: whether there are windows of several scales, and the search; each adds one stage, the last is `localize`."""
    whole = find_then_ground(localizer.rule, localizer.cells)
    every = replace(whole, max_cells=ALL_CELLS)
    alone = replace(every, asks_all=False)
    return {
        "one scale, scores of one video": (False, replace(alone, rule=localizer.rule)),
        "several scales": (True, replace(alone, rule=localizer.rule)),
        "and scores that compare": (True, alone),
        "and asked in all windows": (True, every),
        "and windows found first": (True, whole),
    }


def print_long_recall(ckpt: str, minutes: Sequence[float] = LONG_VIDEO_MINUTES, split: str = "test") -> None:
    """Print recall by length and by search, for a model of `configs/synthetic.yaml`."""
    localizer = MomentLocalizer.from_checkpoint(ckpt)
    options = SyntheticOptions()
    rows = []
    for length in minutes:
        videos = list(join_videos(split, 60 * length, options, LEAST_SECONDS))
        ceiling = np.mean([1 / len(places) for video in videos for places in video.places])
        count = sum(len(video.sentences) for video in videos)
        print(f"{length:g} minutes: {len(videos)} videos, {count} sentences, ceiling {100 * ceiling:.1f}", flush=True)
        for name, figures in measure_searches(localizer, videos):
            rows.append(
                [f"{length:g}", str(figures["windows"]), name, *(f"{100 * share:.1f}" for share in figures["recall"])]
            )
            print(*rows[-1], sep="  ", flush=True)
    print(AsciiTable([list(COLUMNS), *rows]).table)


def measure_searches(localizer: MomentLocalizer, videos: Sequence[JoinedVideo]) -> Iterator[tuple[str, dict]]:
    """Names of `searches`, each with "windows" of a video, and "recall", shares in the order of COLUMNS."""
    queries = [localizer.encoder.encode_sentences(video.sentences) for video in videos]
    encoded: dict[bool, list[EncodedVideo]] = {}
    for name, (several, search) in searches(localizer).items():
        if several not in encoded:
            window = None if several else localizer.train_durations["median"]
            encoded[several] = [localizer.encode_video(video.rows, video.duration, window) for video in videos]
        hits = []
        for video, whole, sentences in zip(videos, encoded[several], queries, strict=True):
            found = search.best_moments(whole, *sentences, TOP_K)
            hits += [_hits(*query) for query in zip(found, video.moments, video.places, strict=True)]
        num_windows = np.mean([len(whole.windows) for whole in encoded[several]])
        yield name, {"windows": round(float(num_windows)), "recall": np.mean(hits, axis=0).tolist()}


def _hits(found: Sequence[LocalizedMoment], moment: torch.Tensor, places: torch.Tensor) -> list[bool]:
    bounds = torch.tensor([(one.start, one.end) for one in found])
    ious = temporal_iou(bounds, moment)
    any_place = temporal_iou(bounds[:1], places).max()
    return [bool(value) for value in (ious[0] >= IOU, any_place >= IOU, ious[0] >= STRICT_IOU, ious.max() >= IOU)]
