"""The files of a split of moments: annotations and features, read, checked, cached."""

from collections.abc import Iterator

from tqdm import tqdm
from yacs.config import CfgNode

from mmn.config.paths_catalog import CatalogEntry
from mmn.data.annotation_files import SentenceEntry, read_sentences
from mmn.data.annotations import AnnotationFile, VideoAnnotation, collect_sentences, read_annotation_file
from mmn.data.cache import ClipFile, build_cache
from mmn.data.dataset import MomentDataset
from mmn.data.features import FeatureFile, resample_clips
from mmn.data.splits import Note, Split
from mmn.data.tokenizer import QueryTokenizer
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import DataError
from mmn.utils.logger import get_logger


def read_split(cfg: CfgNode, split: Split) -> list[VideoAnnotation]:
    """The videos of a split, see `read_annotation_file`."""
    return _annotation_file(cfg, split).videos


def _annotation_file(cfg: CfgNode, split: Split) -> AnnotationFile:
    entry = split.entry_of(CatalogEntry, cfg)
    return read_annotation_file(entry.annotation, entry.time_unit, entry.format, entry.durations)


def feature_file(cfg: CfgNode, split: Split) -> FeatureFile:
    """The feature file of a split, unopened."""
    entry = split.entry_of(CatalogEntry, cfg)
    return FeatureFile(entry.features, entry.feature_key, cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE)


def build_dataset(cfg: CfgNode, split: Split, tokenizer: QueryTokenizer) -> MomentDataset:
    """The dataset of a split. Reads annotations, tokenises, and checks that the features are there."""
    annotations, features = _annotation_file(cfg, split), feature_file(cfg, split)
    get_logger().info("%s: %s", split.name, annotations.counts)
    video_ids = [video.video_id for video in annotations.videos]
    if not cfg.DATALOADER.CACHE_DIR:
        features.check(video_ids)
    cache = build_cache(cfg, split.name, video_ids, features.input_size, [features.path])
    return MomentDataset(
        split.name,
        annotations.videos,
        features,
        tokenizer,
        cfg.INPUT.NUM_PRE_CLIPS,
        cache,
        split.entry.thresholds,
        annotations.has_truth,
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
    """One sentence per problem of a split's annotations and features, and a `Note` on the sentences; each video is looked
    at."""
    entry, features = split.entry_of(CatalogEntry, cfg), feature_file(cfg, split)
    sentences: list[SentenceEntry] = []
    try:
        for part in tqdm(read_sentences(entry.annotation, entry.format, entry.time_unit), desc=split.name, leave=False):
            if isinstance(part, DataError):
                yield str(part)
            else:
                sentences += part
        if sentences:
            yield Note(collect_sentences(entry.annotation, sentences, entry.durations).counts)
    except DataError as error:
        yield str(error)
    features.waits = ()  # a damaged file has many such videos
    try:
        features.open()
    except DataError as error:
        yield str(error)
        return
    video_ids = dict.fromkeys(sentence.video_id for sentence in sentences)
    for video_id in tqdm(video_ids, desc=f"{split.name} features", leave=False):
        try:
            features.read(video_id)
        except DataError as error:
            yield str(error)
