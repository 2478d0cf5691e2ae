"""What tools/localize.py does: find the moments of some sentences in one video, print them, write files of them."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
import transformers
from terminaltables import AsciiTable

from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.extraction.progress import ExtractionProgress
from mmn.apps.localize.localizer import EncodedVideo, MomentLocalizer, QueryResult, check_top_k, checked_queries
from mmn.data.features import DAMAGE
from mmn.evaluation.prediction_file import prediction_record, write_records
from mmn.structures.recipe import FeatureRecipe
from mmn.utils import comm
from mmn.utils.clock import clock
from mmn.utils.errors import ConfigError, DataError
from mmn.utils.logger import setup_logger

COLUMNS = ("", "start", "end", "score", "contrastive", "IoU")


@dataclass(frozen=True)
class VideoSource:
    """What is searched.

    Attributes:
        video: a video file; with `features`, it may also be a name in that file.
        features: HDF5 file that holds the video's features under `feature_key`; None extracts them from the video file.
        feature_key: with {vid} for the video's name.
        duration: seconds; for features without a video file or a duration of their own.
    """

    video: str
    features: str | None = None
    feature_key: str = "{vid}"
    duration: float | None = None

    @property
    def is_file(self) -> bool:
        return os.path.isfile(self.video)

    @property
    def name(self) -> str:
        return Path(self.video).stem if self.is_file or self.features is None else self.video


@dataclass(frozen=True)
class ModelSource:
    """Who searches.

    Attributes:
        ckpt, config_file, options: see `MomentLocalizer.from_checkpoint`.
        backbone: extracts features with its usual sampling, where the checkpoint does not say how.
        recipe_file: HDF5 file of features; the video's are made as they were.
        backbone_weights: a name, a file or "random:SEED", in the place of the usual ones or the recipe's.
    """

    ckpt: str
    config_file: str | None = None
    options: Sequence[str] = ()
    backbone: str | None = None
    recipe_file: str | None = None
    backbone_weights: str | None = None


@dataclass(frozen=True)
class Outputs:
    """Files to write, None for those that nobody wants: json lines, a picture, a folder of video clips."""

    json: str | None = None
    plot: str | None = None
    clip_dir: str | None = None


def split_queries(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sentences, and the KEY VALUE pairs that may follow them: the first word that looks like a config key ends them.

    >>> split_queries(["a person runs", "someone sits", "MODEL.DEVICE", "cpu"])
    (['a person runs', 'someone sits'], ['MODEL.DEVICE', 'cpu'])
    """
    keys = (number for number, word in enumerate(words) if re.fullmatch(r"[A-Z]\w*(\.[A-Z]\w*)+", word))
    stop = next(keys, len(words))
    return list(words[:stop]), list(words[stop:])


def localize_video(
    localizer: MomentLocalizer,
    source: VideoSource,
    queries: Sequence[str],
    top_k: int,
    outputs: Outputs,
    window: float | None = None,
    overlap: float | None = None,
) -> None:
    """Print a table per query and write the files that are asked for.

    Raises UserError, before the video is encoded where that can be known: see `MomentLocalizer` and what is needed for
    the outputs.
    """
    check_top_k(top_k)
    checked_queries(queries)
    _check_outputs(outputs, source, len(queries))
    video = encode_source(localizer, source, window, overlap)
    results = localizer.localize(video, queries, top_k)
    print(format_results(video, results), flush=True)
    if outputs.json:
        write_json(outputs.json, video, results)
    if outputs.plot:
        plot_results(outputs.plot, localizer, source, video, results)
    if outputs.clip_dir:
        write_clips(outputs.clip_dir, source.video, results)
    for path in filter(None, (outputs.json, outputs.plot, outputs.clip_dir)):
        print(f"wrote {path}")


def _check_outputs(outputs: Outputs, source: VideoSource, num_queries: int) -> None:
    if outputs.plot:
        from mmn.apps.visual.search_picture import check_drawable

        if not outputs.plot.lower().endswith(".png"):
            raise ConfigError(f"--plot {outputs.plot} is written as a png file: let the name end in .png")
        check_drawable(num_queries)
    if outputs.clip_dir:
        from mmn.apps.video import encode  # noqa: F401, it needs an optional library, and says so

        if not source.is_file:
            raise DataError(f"--clip-dir cuts moments out of a video file, but {source.video} is none: give its path")


def load_localizer(source: ModelSource, device: torch.device | None = None) -> MomentLocalizer:
    """The model, with the extractor that the user asks for explicitly, else that of the checkpoint's recipe.

    Args:
        device: by default that of the options, see `MomentLocalizer.from_checkpoint`.
    """
    setup_logger(None, comm.get_rank())
    transformers.logging.disable_progress_bar()
    if source.backbone and source.recipe_file:
        raise ConfigError("--backbone and --recipe both say how features are made: give one of them")
    recipe = read_recipe(source.recipe_file) if source.recipe_file else None
    if source.recipe_file and recipe is None:
        raise DataError(f"{source.recipe_file} does not say how its features were made: give --backbone instead")
    localizer = MomentLocalizer.from_checkpoint(
        source.ckpt, source.config_file, device, source.options, backbone_weights=source.backbone_weights
    )
    weights, device = source.backbone_weights, localizer.device
    if recipe is not None:
        localizer.use_extractor(FeatureExtractor.from_recipe(recipe, weights, device=device))
    elif source.backbone:
        localizer.use_extractor(FeatureExtractor(source.backbone, weights, device=device))
    return localizer


def read_recipe(path: str) -> FeatureRecipe | None:
    """The recipe of a feature file; None where it has none."""
    with _open_features(path) as file:
        return FeatureRecipe.from_attributes(file.attrs, path)


def encode_source(
    localizer: MomentLocalizer, source: VideoSource, window: float | None, overlap: float | None
) -> EncodedVideo:
    """The video of `source`, encoded."""
    if source.features is None:
        if source.duration is not None:
            raise ConfigError("--duration goes with --features: a video file says itself how long it is")
        return _encode_file(localizer, source, window, overlap)
    rows, duration, recipe = _read_features(source)
    return localizer.encode_video(rows, duration, window, overlap, recipe, source.name)


def _encode_file(
    localizer: MomentLocalizer, source: VideoSource, window: float | None, overlap: float | None
) -> EncodedVideo:
    size = os.path.getsize(source.video) if source.is_file else 0
    progress = ExtractionProgress(1, size, enabled=True)

    def show(seconds: float, duration: float) -> None:
        progress.advance(source.name, seconds, size * min(seconds / duration, 1.0))

    try:
        return localizer.encode_video(source.video, window=window, overlap=overlap, on_progress=show)
    finally:
        progress.close()


def _read_features(source: VideoSource) -> tuple[np.ndarray, float, FeatureRecipe | None]:
    """Rows, seconds and, where known, recipe of a video in a feature file."""
    key = source.feature_key.replace("{vid}", source.name)
    with _open_features(source.features) as file:
        recipe = FeatureRecipe.from_attributes(file.attrs, source.features)
        try:
            dataset = file.get(key)
            found = isinstance(dataset, h5py.Dataset)
            rows, stated = (np.asarray(dataset[()]), dataset.attrs.get("duration")) if found else (None, None)
        except DAMAGE as error:
            raise DataError(f"video {key!r} of the feature file {source.features} cannot be read ({error})") from error
    if rows is None:
        raise DataError(
            f"the feature file {source.features} has no video at {key!r}: correct the name, or --feature-key"
        )
    if source.duration is not None:
        return rows, source.duration, recipe
    if stated is not None:
        return rows, stated, recipe
    if source.is_file:
        from mmn.apps.video.decode import probe  # needs an optional library

        return rows, probe(source.video).duration, recipe
    raise ConfigError(f"{source.features} does not say how long {source.name} is: give --duration SECONDS")


def _open_features(path: str) -> h5py.File:
    if not os.path.isfile(path):
        raise DataError(f"the feature file {path} does not exist: correct the path")
    try:
        return h5py.File(path, "r")
    except DAMAGE as error:
        raise DataError(f"the feature file {path} cannot be opened ({error}): fetch or make it again") from error


def format_results(video: EncodedVideo, results: Sequence[QueryResult]) -> str:
    """What was searched, then a table per query."""
    head = f"{video.name}, {video.duration:.1f} s"
    if len(video.windows) > 1:
        start, end = video.windows[0]
        head += f", searched in {len(video.windows)} windows of {end - start:.1f} s"
    lines = [head]
    for result in results:
        rows = [
            [
                str(rank),
                clock(moment.start),
                clock(moment.end),
                f"{moment.score:.3f}",
                f"{moment.contrastive:.3f}",
                f"{moment.iou:.3f}",
            ]
            for rank, moment in enumerate(result.moments, start=1)
        ]
        table = AsciiTable([list(COLUMNS), *rows])
        table.justify_columns = dict.fromkeys(range(len(COLUMNS)), "right")
        lines += ["", " ".join(result.query.split()), table.table]
    return "\n".join(lines)


def write_json(path: str, video: EncodedVideo, results: Sequence[QueryResult]) -> None:
    """Write a prediction file (`mmn.evaluation.prediction_file`), one line per query, without true moments."""
    write_records(
        path,
        (
            prediction_record(
                number,
                result.query,
                video.name,
                video.duration,
                [],
                [[moment.start, moment.end, moment.score] for moment in result.moments],
            )
            for number, result in enumerate(results)
        ),
    )


def plot_results(
    path: str, localizer: MomentLocalizer, source: VideoSource, video: EncodedVideo, results: Sequence[QueryResult]
) -> None:
    """Write the picture of `mmn.apps.visual.search_picture`; with frames where there is a video file."""
    from mmn.apps.visual.search_picture import NUM_FRAMES, QueryPicture, draw_localization

    maps = localizer.score_maps(video, [result.query for result in results]).final
    frames = iter(middle_frames(source, results, NUM_FRAMES))
    pictures = []
    for result, windows in zip(results, maps, strict=True):
        best = int(windows.max(axis=(1, 2)).argmax())
        pictures.append(
            QueryPicture(
                result.query,
                np.array([(moment.start, moment.end) for moment in result.moments]).reshape(-1, 2),
                [moment.score for moment in result.moments],
                [next(frames) for _ in result.moments[:NUM_FRAMES]] if source.is_file else [],
                windows[best],
                video.windows[best],
            )
        )
    title = f"{video.name}, {video.duration:.1f} s"
    draw_localization(path, title, video.duration, video.windows, localizer.cells.mask.numpy(), pictures)


def middle_frames(source: VideoSource, results: Sequence[QueryResult], most: int) -> list[np.ndarray]:
    """The frames in the middle of the first moments of every query, in this order."""
    if not source.is_file:
        return []
    from mmn.apps.video.decode import frames_at

    times = [(moment.start + moment.end) / 2 for result in results for moment in result.moments[:most]]
    return [frame.image for frame in frames_at(source.video, times)] if times else []


def write_clips(folder: str, path: str, results: Sequence[QueryResult]) -> None:
    """Cut every moment out of the video file, as FOLDER/<video>_<query>_<rank>_<start>-<end>s.mp4."""
    from mmn.apps.video.encode import cut_video

    for number, result in enumerate(results, start=1):
        for rank, moment in enumerate(result.moments, start=1):
            times = f"{moment.start:.1f}-{moment.end:.1f}s"
            name = f"{Path(path).stem}_query{number}_{rank}_{times}.mp4"
            cut_video(path, moment.start, moment.end, os.path.join(folder, name))
