"""Synthetic videos joined to videos of minutes or hours, and these in the layouts of MAD and Ego4D (SPEC section 11)."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch

from mmn.apps.synthetic.options import SyntheticOptions
from mmn.apps.synthetic.synthetic_moments import SPLITS, Segment, concept_vectors, make_features, make_video
from mmn.utils.errors import ConfigError
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


@dataclass(frozen=True)
class LongLayout:
    """A benchmark of long videos as its files are laid out.

    Attributes:
        dim: D of its features.
        rows_per_second: their rate.
        annotation: annotation file of a split, with {split}.
        features: HDF5 file, or folder of a .pt file per video.
    """

    dim: int
    rows_per_second: float
    annotation: str
    features: str


LAYOUTS = {
    "mad": LongLayout(512, 5.0, "MAD/MAD_{split}.json", "MAD/CLIP_frames_features_5fps.h5"),
    "ego4d": LongLayout(2304, 1.875, "Ego4D/{split}.jsonl", "Ego4D/slowfast"),
}


def write_long_videos(root: str, layout: str, split: str, seconds: float, count: int, seed: int = 0) -> None:
    """Write made-up videos of hours in a layout of SPEC section 11; those of another split stay.

    Models of the synthetic dataset with the layout's `dim` and rate know what they show.

    Args:
        root: DATASETS.ROOT.
        layout: a key of LAYOUTS.
        split: one of SPLITS, whose synthetic videos are joined.
        seconds: length of each, at least.
        count: number of videos.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"there is no layout {layout!r} of long videos: take one of {', '.join(LAYOUTS)}")
    place = LAYOUTS[layout]
    options = replace(SyntheticOptions(seed=seed), dim=place.dim, rows_per_second=place.rows_per_second)
    names = (f"{split}_{number:03}" for number in range(count))
    videos = dict(zip(names, join_videos(split, seconds, options), strict=False))
    write_features, write_annotation = WRITERS[layout]
    write_features(os.path.join(root, place.features), videos)
    write_annotation(os.path.join(root, place.annotation.replace("{split}", split)), videos)


def _write_hdf5(path: str, videos: dict[str, JoinedVideo]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with h5py.File(path, "a") as file:
        for name, video in videos.items():
            file.pop(name, None)
            file[name] = video.rows


def _write_pt(folder: str, videos: dict[str, JoinedVideo]) -> None:
    for name, video in videos.items():
        with atomic_path(os.path.join(folder, f"{name}.pt")) as temporary:
            torch.save(torch.from_numpy(video.rows), temporary)


def _write_mad(path: str, videos: dict[str, JoinedVideo]) -> None:
    entries = {
        f"{name}_{number}": {
            "movie": name,
            "movie_duration": round(video.duration, 2),
            "ext_timestamps": [round(value, 2) for value in moment],
            "sentence": sentence,
        }
        for name, video in videos.items()
        for number, (sentence, moment) in enumerate(zip(video.sentences, video.moments.tolist(), strict=True))
    }
    _write_text(path, json.dumps(entries, indent=1))


def _write_lines(path: str, videos: dict[str, JoinedVideo]) -> None:
    lines = [
        json.dumps(
            {
                "qid": f"{name}_{number}",
                "query": sentence,
                "duration": round(video.duration, 2),
                "vid": name,
                "relevant_windows": [[round(value, 2) for value in moment]],
            }
        )
        for name, video in videos.items()
        for number, (sentence, moment) in enumerate(zip(video.sentences, video.moments.tolist(), strict=True))
    ]
    _write_text(path, "\n".join(lines))


def _write_text(path: str, text: str) -> None:
    with atomic_path(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")


WRITERS = {"mad": (_write_hdf5, _write_mad), "ego4d": (_write_pt, _write_lines)}
