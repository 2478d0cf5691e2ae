"""Synthetic videos joined to videos of minutes or hours, and these in the layouts of MAD and Ego4D (SPEC section 11)."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmn.apps.synthetic.layout_files import WRITERS, write_folder, write_hdf5
from mmn.apps.synthetic.options import SyntheticOptions
from mmn.apps.synthetic.synthetic_moments import SPLITS, Segment, concept_vectors, make_features, make_video
from mmn.config.distributed import LAYOUTS
from mmn.config.paths_catalog import CATALOG
from mmn.data.annotations import VideoAnnotation
from mmn.structures.annotation_forms import JSON_LINES, MAD
from mmn.utils.errors import DataError
from mmn.utils.files import atomic_path


@dataclass(frozen=True)
class JoinedVideo:
    """A video made of synthetic ones, one after the other.

    Attributes:
        rows: [T0, D] float32.
        duration: seconds.
        sentences: S texts.
        moments: [S, 2] float32 seconds, where each is annotated.
        places: [P, 2] float32 seconds each, all that shows the same concepts.
    """

    rows: np.ndarray
    duration: float
    sentences: list[str]
    moments: torch.Tensor
    places: list[torch.Tensor]


def join_videos(
    split: str, seconds: float, options: SyntheticOptions, least_seconds: float = math.inf
) -> Iterator[JoinedVideo]:
    """Joined videos of at least `seconds` each, from as many of a split, in order, as make `least_seconds` in all.

    Beyond those of the dataset the split goes on, as `make_video` makes it, without end.
    """
    concepts = concept_vectors(options.dim, options.seed)
    parts, length, total, number = [], 0.0, 0.0, 0
    while total < least_seconds:
        video = make_video(split, number, options.seed)
        generator = np.random.default_rng([options.seed, SPLITS.index(split), number, 1])
        parts.append((length, video, make_features(video, concepts, options, generator)))
        length, total, number = length + video.duration, total + video.duration, number + 1
        if length >= seconds:
            yield _join(parts, length)
            parts, length = [], 0.0


def _join(parts: list, duration: float) -> JoinedVideo:
    shown = [
        (segment, [start + segment.start, start + segment.end])
        for start, video, _ in parts
        for segment in video.segments
    ]
    places: dict[tuple, list] = {}
    for segment, bounds in shown:
        places.setdefault(_concepts(segment), []).append(bounds)
    told = [(segment, bounds) for segment, bounds in shown if segment.sentence is not None]
    return JoinedVideo(
        np.concatenate([rows for *_, rows in parts]),
        duration,
        [segment.sentence for segment, _ in told],
        torch.tensor([bounds for _, bounds in told]),
        [torch.tensor(places[_concepts(segment)]) for segment, _ in told],
    )


def _concepts(segment: Segment) -> tuple[str | None, ...]:
    return segment.verb, segment.object, segment.place


LONG_DATASETS = ("mad", "ego4d")


def write_long_videos(root: str, dataset: str, split: str, seconds: float, count: int, seed: int = 0) -> str:
    """Write joined videos as a split of a dataset of long ones, in its layout, and return the entry that reads them.

    Models of the synthetic dataset with the layout's width and rate of rows know what they show.

    Args:
        root: DATASETS.ROOT.
        dataset: one of LONG_DATASETS.
        split: one of SPLITS, whose synthetic videos are joined.
        seconds: length of each, at least.
        count: number of videos.
    Raises DataError where files are in their place that are not simulated.
    """
    name = next(name for name in LAYOUTS[dataset].entries() if name.endswith(f"_{split}"))
    entry = CATALOG[name]
    (track,) = entry.tracks
    annotation, place = Path(root, entry.annotation), Path(root, track.path)
    if annotation.exists():
        raise DataError(f"{annotation} is there already: choose another --out")
    options = replace(SyntheticOptions(seed=seed), dim=track.width, rows_per_second=1 / entry.clip_seconds)
    names = (f"{split}_{number:03}" for number in range(count))
    videos = dict(zip(names, join_videos(split, seconds, options), strict=False))
    arrays = ((video_id, video.rows) for video_id, video in videos.items())
    if track.format == "hdf5":
        write_hdf5(place, track.key, arrays)
    else:
        write_folder(place, track, arrays)
    text = WRITERS[MAD if dataset == "mad" else JSON_LINES]([_annotation(*item) for item in videos.items()])
    with atomic_path(os.fspath(annotation)) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    return name


def _annotation(video_id: str, video: JoinedVideo) -> VideoAnnotation:
    windows = [np.array([moment]).round(2) for moment in video.moments.double().tolist()]
    return VideoAnnotation(video_id, round(video.duration, 2), video.sentences, windows)
