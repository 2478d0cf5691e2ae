"""The work of tools/calibrate_index.py: measure on a validation split what scores mean, and write it into an index."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from terminaltables import AsciiTable
from yacs.config import CfgNode

from mmn.apps.localize.identity import model_identity
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.probes.similar_sentences import words
from mmn.apps.search.build_index import build_index
from mmn.apps.search.confidence import Calibration, Rates, best_cosines, fit_calibration, measure_rates
from mmn.apps.search.indexed_video import BuildSettings
from mmn.apps.search.moment_index import check_model
from mmn.apps.search.vector_store import open_store
from mmn.apps.search.video_collections import SplitCollection
from mmn.data.annotations import VideoAnnotation
from mmn.data.moment_files import check_searchable, feature_tracks, read_split
from mmn.data.splits import Split, Splits, split_names
from mmn.utils.errors import ConfigError
from mmn.utils.logger import get_logger

LIBRARIES = (10, 100)  # videos in which queries are searched to measure rates, besides all of the split


def calibrate_index(
    localizer: MomentLocalizer,
    cfg: CfgNode,
    place: str,
    split: str | None = None,
    measured: Sequence[str] | None = None,
) -> Calibration:
    """Calibrate the index at `place`, and print how often thresholds err.

    The split's videos are encoded as those of the index are, into an index that is dropped afterwards.

    Args:
        cfg: the model's, for the splits and their files.
        split: the one to calibrate on; by default DATASETS.VAL.
        measured: splits to measure rates on besides; by default DATASETS.TEST.
    Raises ConfigError where there is no such split, or the index is of another model.
    """
    splits, split = Splits(cfg), split or _validation_split(cfg)
    measured = split_names(cfg, "TEST") if measured is None else measured
    with open_store(place) as index:
        check_model(index, localizer, model_identity(localizer.encoder))
        settings = BuildSettings.of(index.info.build)
        best, is_own = _compare(localizer, cfg, splits.find(split), settings)
        calibration = fit_calibration(split, best, is_own)
        rates = _rates(calibration, split, best, is_own)
        for other in measured:
            if other != split:
                rates += _rates(calibration, other, *_compare(localizer, cfg, splits.find(other), settings))
        calibration = replace(calibration, rates=tuple(map(asdict, rates)))
        print(format_rates(rates), flush=True)
        index.refresh()  # another process may have changed the description meanwhile
        index.write_info(index.info.with_calibration(calibration.to_dict()))
        get_logger().info("%s is calibrated on %s, %d pairs", place, split, calibration.num_pairs)
    return calibration


def _validation_split(cfg: CfgNode) -> str:
    if not cfg.DATASETS.VAL:
        raise ConfigError(
            "DATASETS.VAL is empty, so there is nothing to calibrate on: name a split by --split, one whose videos the "
            "model was not trained on"
        )
    return split_names(cfg, "VAL")[0]


def _compare(
    localizer: MomentLocalizer, cfg: CfgNode, split: Split, settings: BuildSettings
) -> tuple[np.ndarray, np.ndarray]:
    """`best_cosines` [Q, V] of a split's sentences in its videos, and `own_videos` [Q, V]."""
    check_searchable(split)
    videos = read_split(cfg, split)
    features = SplitCollection(videos, feature_tracks(cfg, split))
    queries = localizer.encode_queries([sentence for video in videos for sentence in video.sentences])
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, "index")
        build_index(localizer, features, place, "exact", settings)
        with open_store(place) as index:
            return best_cosines(queries, (index.read(video.video_id) for video in videos)), own_videos(videos)


def own_videos(videos: Sequence[VideoAnnotation]) -> np.ndarray:
    """[Q, V] bool: the videos that each sentence of a split is annotated in, whatever its case and punctuation."""
    texts = [[" ".join(words(sentence)) for sentence in video.sentences] for video in videos]
    places: dict[str, set[int]] = {}
    for number, own in enumerate(texts):
        for text in own:
            places.setdefault(text, set()).add(number)
    is_own = np.zeros((sum(map(len, texts)), len(videos)), bool)
    for row, text in zip(is_own, (text for own in texts for text in own), strict=True):
        row[list(places[text])] = True
    return is_own


def _rates(calibration: Calibration, split: str, best: np.ndarray, is_own: np.ndarray) -> list[Rates]:
    most = int((~is_own).sum(axis=1).min())
    sizes = [size for size in LIBRARIES if size <= most]
    return [measure_rates(calibration, split, best, is_own, size) for size in (*sizes, None)]


def format_rates(rates: Sequence[Rates]) -> str:
    """A table: how often thresholds err on each split, in libraries of several sizes."""
    header = ["split", "videos", "error", "equal", *(f"T={threshold:g}" for threshold in rates[0].thresholds)]
    rows = []
    for rate in rates:
        names = (rate.split, str(rate.num_videos))
        equal = f"{100 * rate.equal_error:.1f}"
        rows.append([*names, "false accept", equal, *(f"{100 * share:.1f}" for share in rate.false_accept)])
        rows.append(["", "", "false reject", "", *(f"{100 * share:.1f}" for share in rate.false_reject)])
    table = AsciiTable([header, *rows])
    table.justify_columns = dict.fromkeys([1, *range(3, len(header))], "right")
    return table.table
