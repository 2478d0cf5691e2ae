"""The files of a split of HC-STVG: annotations, tubes and feature tracks, read, checked, cached."""

import functools
from collections.abc import Iterator

from tqdm import tqdm
from yacs.config import CfgNode

from mmn.config.catalog_entries import TubeEntry
from mmn.data.annotation_files import read_annotation_json
from mmn.data.cache import ClipFile, build_cache
from mmn.data.feature_tracks import build_tracks, split_recipe
from mmn.data.splits import Split
from mmn.data.tokenizer import QueryTokenizer
from mmn.data.tube_annotations import TubeFile, parse_annotation, read_tube_annotations
from mmn.data.tube_dataset import TubeDataset, TubeFeatures, tube_names
from mmn.structures.proposals import ProposalCells
from mmn.structures.recipe import TracksRecipe
from mmn.utils.errors import DataError


def tube_features(cfg: CfgNode, split: Split) -> TubeFeatures:
    """The tubes and feature tracks of a split, unopened; see `build_tracks`."""
    entry = split.entry_of(TubeEntry, cfg)
    return TubeFeatures(TubeFile(entry.tubes, entry.feature_key), build_tracks(cfg, entry))


def build_tube_dataset(cfg: CfgNode, split: Split, cells: ProposalCells, tokenizer: QueryTokenizer) -> TubeDataset:
    """The dataset of a split. Reads annotations and tubes, tokenises, and checks that the features are there."""
    entry, features = split.entry_of(TubeEntry, cfg), tube_features(cfg, split)
    videos = read_tube_annotations(entry.annotation)
    _needed_files(cfg, features).check([video.video_id for video in videos])
    make_cache = functools.partial(build_cache, cfg, split.name, input_size=features.input_size, sources=features.paths)
    return TubeDataset(
        split.name, videos, features, tokenizer, cells, cfg.INPUT.NUM_PRE_CLIPS, entry.thresholds, make_cache
    )


def _needed_files(cfg: CfgNode, features: TubeFeatures) -> TubeFeatures | TubeFile:
    """Tubes and tracks, or the tubes alone where DATALOADER.CACHE_DIR has clips that stand for the tracks."""
    return features.tubes if cfg.DATALOADER.CACHE_DIR else features


def check_tube_files(cfg: CfgNode, split: Split) -> None:
    """Raise DataError unless the split can be scored: its truth is known, and its tubes and features are there."""
    videos = read_tube_annotations(split.entry_of(TubeEntry, cfg).annotation)
    if any(video.truth is None for video in videos):
        raise DataError(
            f"the split {split.name} has sentences without their truth, so training cannot end with its table: name "
            "another split in DATASETS.TEST, or add --skip-test"
        )
    _needed_files(cfg, tube_features(cfg, split)).check([video.video_id for video in videos])


def write_tube_clip_file(cfg: CfgNode, split: Split) -> None:
    """Resample the features of a split's tubes into DATALOADER.CACHE_DIR (tools/cache_features.py)."""
    features, num_clips = tube_features(cfg, split), cfg.INPUT.NUM_PRE_CLIPS
    videos = read_tube_annotations(split.entry_of(TubeEntry, cfg).annotation)
    features.check([video.video_id for video in videos])
    tubes = [features.tubes.read_tubes(video.video_id) for video in videos]
    clips = (
        features.resample(rows, num_clips)
        for video, own in zip(tqdm(videos, desc=split.name), tubes, strict=True)
        for rows in features.read(video.video_id, own)
    )
    ClipFile(cfg.DATALOADER.CACHE_DIR, split.name, features.paths).write(
        tube_names(videos, tubes),
        clips,
        (num_clips, features.input_size),
        cfg.DATALOADER.CACHE_DTYPE,
        features.tracks.recipe(),
    )


def tube_recipe(cfg: CfgNode, split: Split) -> TracksRecipe | None:
    """Recipe of the feature tracks of a split's tubes, where the entry, or what stands for the files, says so."""
    features = tube_features(cfg, split)
    return split_recipe(cfg, split.name, features.tracks, features.paths)


def tube_problems(cfg: CfgNode, split: Split) -> Iterator[str]:
    """One sentence per problem of a split's annotations, tubes and features; each video is looked at."""
    path, features = split.entry_of(TubeEntry, cfg).annotation, tube_features(cfg, split)
    try:
        content = read_annotation_json(path)
    except DataError as error:
        yield str(error)
        return
    try:
        features.be_impatient()
        features.open()
    except DataError as error:
        yield str(error)
        return
    for video_id, fields in tqdm(content.items(), desc=split.name, leave=False):
        try:
            parse_annotation(f"video {video_id} of {path}", video_id, fields)
        except DataError as error:
            yield str(error)
        try:
            features.read(video_id, features.tubes.read_tubes(video_id))
        except DataError as error:
            yield str(error)
