"""The files of a split of moments: annotations and features, read, checked, cached."""

from collections.abc import Iterator

from tqdm import tqdm
from yacs.config import CfgNode

from mmn.config.paths_catalog import CatalogEntry
from mmn.data.annotations import VideoAnnotation, parse_video, read_annotation_json, read_annotations
from mmn.data.cache import ClipFile, build_cache
from mmn.data.dataset import MomentDataset
from mmn.data.features import FeatureFile, resample_clips
from mmn.data.splits import Split
from mmn.data.tokenizer import QueryTokenizer
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import DataError


def read_split(cfg: CfgNode, split: Split) -> list[VideoAnnotation]:
    """The annotations of a split, see `read_annotations`."""
    entry = split.entry_of(CatalogEntry, cfg)
    return read_annotations(entry.annotation, entry.time_unit)


def feature_file(cfg: CfgNode, split: Split) -> FeatureFile:
    """The feature file of a split, unopened."""
    entry = split.entry_of(CatalogEntry, cfg)
    return FeatureFile(entry.features, entry.feature_key, cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE)


def build_dataset(cfg: CfgNode, split: Split, tokenizer: QueryTokenizer) -> MomentDataset:
    """The dataset of a split. Reads annotations, tokenises, and checks that the features are there."""
    videos, features = read_split(cfg, split), feature_file(cfg, split)
    video_ids = [video.video_id for video in videos]
    if not cfg.DATALOADER.CACHE_DIR:
        features.check(video_ids)
    cache = build_cache(cfg, split.name, video_ids, features.input_size, [features.path])
    return MomentDataset(
        split.name, videos, features, tokenizer, cfg.INPUT.NUM_PRE_CLIPS, cache, split.entry.thresholds
    )


def check_files(cfg: CfgNode, split: Split) -> None:
    """Raise DataError unless the split's annotations can be read and its features are there."""
    videos = read_split(cfg, split)
    if not cfg.DATALOADER.CACHE_DIR:
        feature_file(cfg, split).check(video.video_id for video in videos)


def write_clip_file(cfg: CfgNode, split: Split) -> None:
    """Resample the features of a split into DATALOADER.CACHE_DIR (tools/cache_features.py)."""
    features, num_clips = feature_file(cfg, split), cfg.INPUT.NUM_PRE_CLIPS
    video_ids = [video.video_id for video in read_split(cfg, split)]
    features.check(video_ids)
    clips = (resample_clips(features.read(video_id), num_clips) for video_id in tqdm(video_ids, desc=split.name))
    ClipFile(cfg.DATALOADER.CACHE_DIR, split.name, [features.path]).write(
        video_ids, clips, (num_clips, features.input_size), cfg.DATALOADER.CACHE_DTYPE, features.recipe()
    )


def feature_recipe(cfg: CfgNode, split: Split) -> FeatureRecipe | None:
    """Recipe of the features of a split, where its feature file, or what stands for it, says so."""
    features = feature_file(cfg, split)
    if cfg.DATALOADER.CACHE_DIR:
        return ClipFile(cfg.DATALOADER.CACHE_DIR, split.name, [features.path]).recipe()
    return features.recipe()


def split_problems(cfg: CfgNode, split: Split) -> Iterator[str]:
    """One sentence per problem of a split's annotations and features; each video is looked at."""
    entry, features = split.entry_of(CatalogEntry, cfg), feature_file(cfg, split)
    try:
        content = read_annotation_json(entry.annotation)
    except DataError as error:
        yield str(error)
        return
    num_sentences = 0
    for video_id, fields in tqdm(content.items(), desc=split.name, leave=False):
        try:
            num_sentences += len(parse_video(entry.annotation, video_id, fields, entry.time_unit).sentences)
        except DataError as error:
            yield str(error)
    if not num_sentences:
        yield f"the annotation file {entry.annotation} holds no sentence with start < end"
    features.waits = ()  # a damaged file has many such videos
    try:
        features.open()
    except DataError as error:
        yield str(error)
        return
    for video_id in tqdm(content, desc=f"{split.name} features", leave=False):
        try:
            features.read(video_id)
        except DataError as error:
            yield str(error)
