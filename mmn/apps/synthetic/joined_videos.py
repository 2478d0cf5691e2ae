"""Synthetic videos joined to videos of minutes or hours, and these in the layouts of MAD and Ego4D (SPEC section 11)."""

import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmn.apps.synthetic.layout_files import WRITERS, write_folder, write_hdf5
from mmn.apps.synthetic.options import SyntheticOptions
from mmn.apps.synthetic.synthetic_moments import SPLITS, Segment, concept_vectors, make_features, make_video
from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
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
TEXT_ENCODER = "text_encoder"


def write_long_videos(
    root: str | os.PathLike, dataset: str, counts: Mapping[str, int], seconds: float, seed: int = 0
) -> list[str]:
    """Write joined videos as a dataset of long ones, in its layout, and return the entries that read them.

    Args:
        root: DATASETS.ROOT. A small random text encoder with the sentences' vocabulary goes there too, as TEXT_ENCODER.
        dataset: one of LONG_DATASETS.
        counts: number of videos by split, those of SPLITS; their synthetic videos are joined.
        seconds: length of each video, at least.
    Raises DataError where files are in their place that are not simulated.
    """
    entries = {name: CATALOG[name] for name in LAYOUTS[dataset].entries()}
    (track,) = {entry.tracks for entry in entries.values()}.pop()
    places = {split: next(name for name in entries if name.endswith(f"_{split}")) for split in counts}
    for name in places.values():
        if (path := Path(root, entries[name].annotation)).exists():
            raise DataError(f"{path} is there already: choose another --out")
    annotations: dict[str, list[VideoAnnotation]] = {split: [] for split in counts}

    def arrays() -> Iterator[tuple[str, np.ndarray]]:
        rate = 1 / next(iter(entries.values())).clip_seconds
        options = replace(SyntheticOptions(seed=seed), dim=track.width, rows_per_second=rate)
        for split, count in counts.items():
            for number, video in enumerate(itertools.islice(join_videos(split, seconds, options), count)):
                annotations[split].append(_annotation(f"{split}_{number:03}", video))
                yield annotations[split][-1].video_id, video.rows

    if track.format == "hdf5":
        write_hdf5(Path(root, track.path), track.key, arrays())
    else:
        write_folder(Path(root, track.path), track, arrays())
    for split, name in places.items():
        text = WRITERS[MAD if dataset == "mad" else JSON_LINES](annotations[split])
        with atomic_path(os.path.join(root, entries[name].annotation)) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")
    sentences = [sentence for videos in annotations.values() for video in videos for sentence in video.sentences]
    write_tiny_encoder(Path(root, TEXT_ENCODER), sentences, hidden_size=64, vocab_size=1000, seed=seed)
    return list(places.values())


def _annotation(video_id: str, video: JoinedVideo) -> VideoAnnotation:
    windows = [np.array([moment]).round(2) for moment in video.moments.double().tolist()]
    return VideoAnnotation(video_id, round(video.duration, 2), video.sentences, windows)
