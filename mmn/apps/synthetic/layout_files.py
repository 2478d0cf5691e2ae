"""Simulated features in the layouts that others distribute (SPEC section 11), with the annotations that belong to them.

What the catalog's entries of a layout read is written below one folder, so that all of the path from those files to a
table can be rehearsed before anything is downloaded. The rows are those of `simulated_features`: words under noise.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
import torch

from mmn.apps.synthetic.options import LayoutOptions, SimulationOptions
from mmn.apps.synthetic.simulated_features import (
    DESCRIPTION,
    AnnotatedVideo,
    WordVectors,
    collect_videos,
    detect_time_unit,
    simulate_video,
    stable_hash,
    write_text_encoder,
)
from mmn.config.catalog_entries import CatalogEntry, Track
from mmn.config.distributed import DATASETS, LAYOUTS
from mmn.config.paths_catalog import CATALOG
from mmn.data.annotation_files import find_form, read_annotation_text
from mmn.data.annotations import VideoAnnotation, read_annotation_file
from mmn.structures.annotation_forms import JSON, JSON_LINES, MAD
from mmn.utils.errors import ConfigError, DataError
from mmn.utils.files import atomic_path, remove_leftovers

MARK = "SIMULATED.txt"  # in a folder of simulated features; one without it is somebody else's
USUAL_SECONDS = 1.0  # of a row, for layouts that do not say it
R2_LAYERS, R2_TOKENS = 4, 50  # of R2-Tuning's arrays [T, 4, 50, D]
UNIVTG_NORM = 11.0


def simulate_layout(
    root: str | os.PathLike,
    options: LayoutOptions,
    annotations: Mapping[str, str] | None = None,
    text_encoder: str | os.PathLike | None = None,
    log: Callable[[str], None] = print,
) -> list[str]:
    """Write the features of a layout for a dataset below `root`, and return the names of the entries that read them.

    Args:
        root: DATASETS.ROOT.
        annotations: split -> annotation file of any form, which is written in the form and place of the layout; by default
            those that are in their place already.
        text_encoder: a folder for a small random text encoder (`tiny_encoder.py`) with the sentences' vocabulary.
        log: takes progress lines.
    Raises ConfigError or DataError for splits that the dataset has not, annotations that cannot be used or are in the way
    of others, and features in their place that are not simulated.
    """
    layout = LAYOUTS[options.layout]
    names = [name for name in layout.entries() if name.startswith(f"{options.dataset}_")]
    entries = {name: CATALOG[name] for name in names}
    for split, source in (annotations or {}).items():
        place_annotations(source, root, options.dataset, split)
    files = sorted(
        {entry.annotation for entry in entries.values() if os.path.exists(os.path.join(root, entry.annotation))}
    )
    videos = collect_videos([os.path.join(root, file) for file in files])
    tracks = {track.path: (track, entry) for entry in entries.values() for track in entry.tracks}
    for track, entry in tracks.values():
        write_track(Path(root), track, entry, videos, options, log)
    if text_encoder is not None:
        write_text_encoder(text_encoder, videos.values(), options.seed, log)
    return [name for name in names if entries[name].annotation in files]


# ---- Annotations -------------------------------------------------------------------------------------------------------


def place_annotations(source: str, root: str | os.PathLike, dataset: str, split: str) -> None:
    """Write an annotation file in the form and place that the catalog's entries of a dataset have for a split."""
    if split not in DATASETS[dataset].annotations:
        raise ConfigError(
            f"{dataset} has no split {split!r}: its splits are {', '.join(DATASETS[dataset].annotations)}"
        )
    place = os.path.join(root, DATASETS[dataset].annotations[split])
    if os.path.exists(place):
        if os.path.samefile(place, source):
            return
        raise DataError(f"{place} is there already: leave {split}={source} out to use it, or choose another --out")
    text, form = read_annotation_text(source), MAD if dataset == "mad" else Path(place).suffix.removeprefix(".")
    if find_form(source, text) != form:
        text = WRITERS[form](read_annotation_file(source, detect_time_unit(source)).videos)
    with atomic_path(place) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)


def json_lines(videos: Sequence[VideoAnnotation]) -> str:
    """One sentence a line, with ids that count them where they have none; a video id ends before an extension."""
    lines = []
    for video in videos:
        for number, (sentence, windows) in enumerate(zip(video.sentences, video.windows, strict=True)):
            vid = os.path.splitext(video.video_id)[0] if video.video_id.endswith(".avi") else video.video_id
            qid = f"{vid}_{number}" if video.qids is None else video.qids[number]
            line = {"qid": qid, "query": sentence, "duration": video.duration, "vid": vid}
            lines.append(json.dumps({**line, "relevant_windows": windows.tolist()}, ensure_ascii=False) + "\n")
    return "".join(lines)


def plain_json(videos: Sequence[VideoAnnotation]) -> str:
    """Section 1's form; a sentence with several moments stands there once for each."""
    content = {}
    for video in videos:
        pairs = [
            (window, sentence)
            for sentence, windows in zip(video.sentences, video.windows, strict=True)
            for window in windows.tolist()
        ]
        moments, sentences = ([pair[part] for pair in pairs] for part in (0, 1))
        content[video.video_id] = {"duration": video.duration, "timestamps": moments, "sentences": sentences}
    return json.dumps(content, ensure_ascii=False)


def mad_json(videos: Sequence[VideoAnnotation]) -> str:
    """MAD's form, ids counted from 0."""
    entries = [
        {"movie": video.video_id, "movie_duration": video.duration, "ext_timestamps": window, "sentence": sentence}
        for video in videos
        for sentence, windows in zip(video.sentences, video.windows, strict=True)
        for window in windows.tolist()
    ]
    return json.dumps({str(number): entry for number, entry in enumerate(entries)}, ensure_ascii=False)


WRITERS = {JSON_LINES: json_lines, JSON: plain_json, MAD: mad_json}  # by form


# ---- Features ----------------------------------------------------------------------------------------------------------


def write_track(
    root: Path,
    track: Track,
    entry: CatalogEntry,
    videos: Mapping[str, AnnotatedVideo],
    options: LayoutOptions,
    log: Callable[[str], None],
) -> None:
    """Write one track of all videos, logging every tenth of the way."""
    place = root / track.path
    assert track.width is not None  # as all layouts have it
    rate = 1 / (entry.clip_seconds or USUAL_SECONDS)
    seed = options.seed + stable_hash(str(track.name)) % 2**31  # words look different in each track
    simulation = SimulationOptions(track.width, options.noise, rate, seed)
    words = WordVectors(track.width, seed)
    make_array = ARRAYS.get(options.layout, np.asarray)

    def arrays():
        for number, (vid, video) in enumerate(videos.items(), 1):
            rows = simulate_video(vid, video, words, simulation, num_rows(vid, video, rate, str(track.name)))
            yield vid + entry.vid_suffix, make_array(rows)
            if number == len(videos) or number % max(1, len(videos) // 10) == 0:
                log(f"{place}: {number} of {len(videos)} videos")

    if track.format == "hdf5":
        write_hdf5(place, track.key, arrays())
    else:
        write_folder(place, track, arrays())


def num_rows(vid: str, video: AnnotatedVideo, rate: float, name: str) -> int:
    """Rows of a video, one fewer in half of the tracks: real ones differ so."""
    count = max(1, math.ceil(video.duration * rate))
    return max(1, count - stable_hash(f"{name} {vid}") % 2)


def write_hdf5(place: Path, key: str, arrays) -> None:
    """(video, array) pairs as one HDF5 file, which appears as a whole."""
    if place.exists():
        with h5py.File(place) as file:
            is_simulated = str(file.attrs.get("description", "")).startswith("SIMULATED")
        if not is_simulated:
            raise _not_ours(place)
    with atomic_path(os.fspath(place)) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["description"] = DESCRIPTION
        for vid, array in arrays:
            file[key.replace("{vid}", vid)] = array


def write_folder(place: Path, track: Track, arrays) -> None:
    """(video, array) pairs as one file each; every file appears as a whole."""
    if place.is_dir() and any(place.iterdir()) and not (place / MARK).exists():
        raise _not_ours(place)
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / MARK).write_text(DESCRIPTION + "\n")
        remove_leftovers(os.fspath(place))
        for vid, array in arrays:
            path = place / track.file.replace("{vid}", vid)
            with atomic_path(os.fspath(path)) as temporary, open(temporary, "wb") as file:
                save_array(file, track, array)
    except OSError as error:
        raise DataError(
            f"{place} cannot be written ({error.strerror}): free some space or choose another --out"
        ) from error


def save_array(file: BinaryIO, track: Track, array: np.ndarray) -> None:
    """Write one video's array in the format of its track."""
    if track.format == "npz":
        np.savez(file, **{track.key: array})
    elif track.format == "npy":
        np.save(file, array)
    else:
        torch.save(torch.from_numpy(array), file)


def all_tokens(rows: np.ndarray) -> np.ndarray:
    """R2-Tuning's arrays, float16 [T, 4, 50, D], of which the class token of the last layer is the row."""
    array = np.zeros((len(rows), R2_LAYERS, R2_TOKENS, rows.shape[1]), np.float16)
    array[:, -1, 0, :] = rows
    return array


def long_rows(rows: np.ndarray) -> np.ndarray:
    """UniVTG's rows, which are not normalised."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * (np.float32(UNIVTG_NORM) / np.maximum(norms, np.float32(1e-12)))


ARRAYS = {"r2_tuning": all_tokens, "univtg": long_rows, "univtg_hdf5": long_rows}  # by layout; others hold the rows


def _not_ours(place: Path) -> DataError:
    return DataError(
        f"{place} is there and does not say that it is simulated: it is left alone, so choose another --out"
    )
