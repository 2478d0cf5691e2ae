"""The files of a split of moments: annotations and features, read, checked, cached."""

from collections.abc import Iterator

from tqdm import tqdm
from yacs.config import CfgNode

from mmn.config.catalog_entries import CatalogEntry
from mmn.data.annotation_files import SentenceEntry, read_sentences
from mmn.data.annotations import (
    TOO_LATE,
    AnnotationFile,
    VideoAnnotation,
    collect_sentences,
    group_by_rows,
    read_annotation_file,
)
from mmn.data.cache import ClipFile, build_cache
from mmn.data.cut_videos import CutTracks, cut_videos, num_never_inside
from mmn.data.dataset import MomentDataset
from mmn.data.feature_tracks import FeatureTracks, build_tracks, split_recipe
from mmn.data.splits import Note, Split
from mmn.data.tokenizer import QueryTokenizer
from mmn.structures.recipe import TracksRecipe
from mmn.structures.rows_id import RowsId
from mmn.utils.errors import ConfigError, DataError
from mmn.utils.logger import get_logger

# By which the time of a video's feature rows may differ from its duration.
SPARE_SECONDS, SPARE_SHARE = 5.0, 0.2


def read_split(cfg: CfgNode, split: Split) -> list[VideoAnnotation]:
    """The videos of a split, or one for each sentence where a track has {qid}; see `read_annotation_file`."""
    return _annotation_file(cfg, split).videos


def _annotation_file(cfg: CfgNode, split: Split) -> AnnotationFile:
    entry = split.entry_of(CatalogEntry, cfg)
    return read_annotation_file(entry.annotation, entry.time_unit, entry.format, entry.durations, entry.is_by_sentence)


def check_searchable(split: Split) -> None:
    """Raise ConfigError unless the rows of each video are there for any sentence, as a search of all videos needs them."""
    if isinstance(split.entry, CatalogEntry) and split.entry.is_by_sentence:
        raise ConfigError(
            f"the split {split.name} has feature rows for each sentence ({{qid}} in a track of its catalog entry), so no "
            "other sentence can be searched for in them: take a split whose tracks {vid} alone finds"
        )


def feature_tracks(cfg: CfgNode, split: Split) -> FeatureTracks:
    """The feature tracks of a split, unopened; see `build_tracks`."""
    return build_tracks(cfg, split.entry_of(CatalogEntry, cfg))


def build_dataset(
    cfg: CfgNode, split: Split, tokenizer: QueryTokenizer, kind: type[MomentDataset] = MomentDataset
) -> MomentDataset:
    """The dataset of a split. Reads annotations, tokenises, and checks that the features are there."""
    annotations = _annotation_file(cfg, split)
    get_logger().info("%s: %s", split.name, annotations.counts)
    videos, features = _trained_on(cfg, split, annotations.videos, feature_tracks(cfg, split))
    rows_ids = [video.rows_id for video in videos]
    if not cfg.DATALOADER.CACHE_DIR:
        features.check(rows_ids)
        for video in annotations.videos:
            check_duration(features, video.rows_id, video.duration)
        features.close()
    cache = build_cache(cfg, split.name, list(map(str, rows_ids)), features.input_size, features.paths)
    return kind(
        split.name,
        videos,
        features,
        tokenizer,
        cfg.INPUT.NUM_PRE_CLIPS,
        cache,
        split.entry.thresholds,
        annotations.has_truth,
    )


def _trained_on(
    cfg: CfgNode, split: Split, videos: list[VideoAnnotation], features: FeatureTracks
) -> tuple[list[VideoAnnotation], FeatureTracks | CutTracks]:
    """The videos of a split and their features as a network sees them, whole or in windows of the entry's length."""
    seconds = split.entry_of(CatalogEntry, cfg).window_seconds
    if seconds is None:
        return videos, features
    cut, windows = cut_videos(videos, seconds)
    get_logger().info(
        "%s: %d windows of %g s, %d sentences in none of them",
        *(split.name, len(cut), seconds, num_never_inside(videos, seconds)),
    )
    if not cut:
        raise DataError(
            f"no sentence of the split {split.name} has a moment in a window of {seconds:g} s: make window_seconds of its "
            "catalog entry longer"
        )
    return cut, CutTracks(features, windows)


def check_files(cfg: CfgNode, split: Split) -> None:
    """Raise DataError unless the split's annotations can be read, with moments to test on, and its features are there."""
    videos, features = _trained_on(cfg, split, read_split(cfg, split), feature_tracks(cfg, split))
    if not cfg.DATALOADER.CACHE_DIR:
        features.check(video.rows_id for video in videos)


def write_clip_file(cfg: CfgNode, split: Split) -> None:
    """Resample the features of a split into DATALOADER.CACHE_DIR (tools/cache_features.py)."""
    num_clips, tracks = cfg.INPUT.NUM_PRE_CLIPS, feature_tracks(cfg, split)
    recipe = tracks.recipe()
    videos, features = _trained_on(cfg, split, read_split(cfg, split), tracks)
    rows_ids = [video.rows_id for video in videos]
    features.check(rows_ids)
    clips = (features.clips(rows_id, num_clips) for rows_id in tqdm(rows_ids, desc=split.name))
    ClipFile(cfg.DATALOADER.CACHE_DIR, split.name, features.paths).write(
        list(map(str, rows_ids)), clips, (num_clips, features.input_size), cfg.DATALOADER.CACHE_DTYPE, recipe
    )


def feature_recipe(cfg: CfgNode, split: Split) -> TracksRecipe | None:
    """Recipe of the features of a split, where its entry and feature files, or what stands for these, say so."""
    features = feature_tracks(cfg, split)
    return split_recipe(cfg, split.name, features, features.paths)


def split_problems(cfg: CfgNode, split: Split) -> Iterator[str]:
    """One sentence per problem of a split's annotations and features, and a `Note` on the sentences; each video is looked
    at."""
    entry, features = split.entry_of(CatalogEntry, cfg), feature_tracks(cfg, split)
    sentences: list[SentenceEntry] = []
    rows: dict[RowsId, list[SentenceEntry]] = {}
    durations: dict[RowsId, float] = {}
    try:
        for part in tqdm(read_sentences(entry.annotation, entry.format, entry.time_unit), desc=split.name, leave=False):
            if isinstance(part, DataError):
                yield str(part)
            else:
                sentences += part
        if sentences:
            rows = group_by_rows(sentences, entry.is_by_sentence)
            annotations = collect_sentences(entry.annotation, sentences, entry.durations, entry.is_by_sentence)
            durations = {video.rows_id: video.duration for video in annotations.videos}
            yield Note(str(annotations.counts))
            if annotations.has_truth:
                _trained_on(cfg, split, annotations.videos, features)  # says where a cut leaves nothing
    except DataError as error:
        yield str(error)
    features.be_impatient()
    try:
        features.open()
    except DataError as error:
        yield str(error)
        return
    for rows_id in tqdm(rows, desc=f"{split.name} features", leave=False):
        try:
            array = features.read(rows_id)
            if rows_id in durations:
                check_duration(features, rows_id, durations[rows_id])
        except DataError as error:
            yield str(error)
            continue
        if entry.clip_seconds and not _covers(len(array) * entry.clip_seconds, durations.get(rows_id)):
            yield (
                f"{features.readers[0].where(rows_id)} has {len(array)} rows of {entry.clip_seconds:g} s, but the video "
                f"lasts {durations[rows_id]:g} s: correct clip_seconds in the catalog entry, or the features"
            )


def check_duration(features: FeatureTracks, rows_id: RowsId, duration: float) -> None:
    """Raise DataError where the features say that a video is of another length altogether than its annotations do."""
    for reader in features.readers:
        seconds = reader.duration(rows_id)
        if seconds is not None and not 1 / TOO_LATE < seconds / duration < TOO_LATE:
            raise DataError(
                f"video {rows_id} lasts {duration:g} s by its annotations, but {seconds:g} s by {reader.path}: correct "
                "the one that is wrong"
            )


def _covers(seconds: float, duration: float | None) -> bool:
    """Tell whether rows of so many seconds are those of a video: the last ones are often missing, or reach beyond it."""
    return duration is None or abs(seconds - duration) <= max(SPARE_SECONDS, SPARE_SHARE * duration)
