"""cfg -> datasets and loaders."""

import os
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch.utils.data import ConcatDataset, Dataset, Sampler
from tqdm import tqdm
from yacs.config import CfgNode

from mmn.config.paths_catalog import CatalogEntry, TubeEntry, get_entry, load_catalog
from mmn.data.annotations import read_annotations
from mmn.data.batch_loader import BatchLoader
from mmn.data.cache import ClipFile, SharedClipCache
from mmn.data.collate import Collator
from mmn.data.dataset import MomentDataset
from mmn.data.features import FeatureFile, resample_clips
from mmn.data.samplers import EpochSampler, ShardSampler
from mmn.data.tokenizer import QueryTokenizer
from mmn.structures.recipe import FeatureRecipe
from mmn.utils import comm
from mmn.utils.errors import ConfigError
from mmn.utils.preemption import spare_worker

GIGABYTE = 1024**3
Entry = TypeVar("Entry", CatalogEntry, TubeEntry)


def build_tokenizer(cfg: CfgNode) -> QueryTokenizer:
    return QueryTokenizer(cfg.MODEL.MMN.TEXT_ENCODER.PRETRAINED)


def build_dataset(cfg: CfgNode, name: str, tokenizer: QueryTokenizer) -> MomentDataset:
    """The split of this name in the catalog. Reads annotations, tokenises, and checks that the features are there."""
    entry = find_entry(cfg, name)
    videos = read_annotations(annotation_path(cfg, entry), entry.time_unit)
    features = feature_file(cfg, entry)
    cache = build_cache(cfg, name, [video.video_id for video in videos], features)
    return MomentDataset(name, videos, features, tokenizer, cfg.INPUT.NUM_PRE_CLIPS, cache, entry.thresholds)


def find_entry(cfg: CfgNode, split: str, kind: type[Entry] = CatalogEntry) -> Entry:
    """The catalog entry of a split name; raises ConfigError unless it is of the kind that the task reads."""
    entry = get_entry(split, load_catalog(cfg.PATHS_CATALOG))
    if not isinstance(entry, kind):
        found, wanted = ("tubes", "moments") if isinstance(entry, TubeEntry) else ("moments", "tubes")
        raise ConfigError(
            f"the split {split!r} is one of {found}, but MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE!r} reads {wanted}: "
            "change one of them"
        )
    return entry


def annotation_path(cfg: CfgNode, entry: CatalogEntry | TubeEntry) -> str:
    return os.path.join(cfg.DATASETS.ROOT, entry.annotation)


def feature_file(cfg: CfgNode, entry: CatalogEntry) -> FeatureFile:
    path = os.path.join(cfg.DATASETS.ROOT, entry.features)
    return FeatureFile(path, entry.feature_key, cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE)


def feature_recipe(cfg: CfgNode, split: str) -> FeatureRecipe | None:
    """Recipe of the features of a split, where its feature file, or what stands for it, says so."""
    features = feature_file(cfg, find_entry(cfg, split))
    if cfg.DATALOADER.CACHE_DIR:
        return ClipFile(cfg.DATALOADER.CACHE_DIR, split, [features.path]).recipe()
    return features.recipe()


def check_files(cfg: CfgNode, split: str) -> None:
    """Raise DataError unless the split's annotations can be read and its features are there."""
    entry = find_entry(cfg, split)
    videos = read_annotations(annotation_path(cfg, entry), entry.time_unit)
    if not cfg.DATALOADER.CACHE_DIR:
        feature_file(cfg, entry).check(video.video_id for video in videos)


def build_cache(cfg: CfgNode, split: str, video_ids: list[str], features: FeatureFile) -> SharedClipCache | ClipFile:
    """The split's file in DATALOADER.CACHE_DIR, which then stands for the feature file, or a cache in memory over it."""
    loader, num_clips = cfg.DATALOADER, cfg.INPUT.NUM_PRE_CLIPS
    if loader.CACHE_DIR:
        cache = ClipFile(loader.CACHE_DIR, split, [features.path])
        cache.open(video_ids, (num_clips, features.input_size))
        return cache
    features.check(video_ids)
    budget = loader.CACHE_GB * GIGABYTE
    return SharedClipCache(len(video_ids), num_clips, features.input_size, budget, loader.CACHE_DTYPE)


def write_clip_file(cfg: CfgNode, split: str) -> None:
    """Resample the features of a split into DATALOADER.CACHE_DIR (tools/cache_features.py)."""
    entry, num_clips = find_entry(cfg, split), cfg.INPUT.NUM_PRE_CLIPS
    features = feature_file(cfg, entry)
    video_ids = [video.video_id for video in read_annotations(annotation_path(cfg, entry), entry.time_unit)]
    features.check(video_ids)
    clips = (resample_clips(features.read(video_id), num_clips) for video_id in tqdm(video_ids, desc=split))
    ClipFile(cfg.DATALOADER.CACHE_DIR, split, [features.path]).write(
        video_ids, clips, (num_clips, features.input_size), cfg.DATALOADER.CACHE_DTYPE, features.recipe()
    )


def build_train_loader(cfg: CfgNode, datasets: Sequence[Dataset], collator: Collator) -> BatchLoader:
    """This process's share of the training splits, in the order of the sampler's epoch."""
    dataset = datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)
    sampler = EpochSampler(len(dataset), comm.get_rank(), comm.get_world_size())
    # A step takes ACCUMULATE of the loader's batches.
    return _build_loader(cfg, dataset, sampler, cfg.SOLVER.BATCH_SIZE // cfg.SOLVER.ACCUMULATE, collator)


def build_test_loader(cfg: CfgNode, dataset: Dataset, collator: Collator) -> BatchLoader:
    """This process's share of one split, in annotation order."""
    sampler = ShardSampler(len(dataset), comm.get_rank(), comm.get_world_size())
    return _build_loader(cfg, dataset, sampler, cfg.TEST.BATCH_SIZE, collator)


def build_collator(cfg: CfgNode, tokenizer: QueryTokenizer, kind: type[Collator] = Collator) -> Collator:
    """The collator for the sentences of `tokenizer` on the device of MODEL.DEVICE."""
    return kind(tokenizer.pad_id, 8 if _is_on_gpu(cfg) else 1, tokenizer.max_length)


def _is_on_gpu(cfg: CfgNode) -> bool:
    return comm.resolve_device(cfg.MODEL.DEVICE, "MODEL.DEVICE").type != "cpu"


def all_splits(cfg: CfgNode) -> list[str]:
    """Every split that the config names, once."""
    return list(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.VAL, *cfg.DATASETS.TEST)))


def split_names(cfg: CfgNode, key: str) -> tuple[str, ...]:
    """The split names of DATASETS.<key>; none at all is an error."""
    if not cfg.DATASETS[key]:
        raise ConfigError(f"DATASETS.{key} is empty: name a split of the catalog, e.g. ('charades_train',)")
    return cfg.DATASETS[key]


def _build_loader(cfg: CfgNode, dataset: Dataset, sampler: Sampler, batch_size: int, collator: Collator) -> BatchLoader:
    num_workers = cfg.DATALOADER.NUM_WORKERS
    return BatchLoader(
        dataset,
        sampler,
        batch_size // comm.get_world_size(),
        collator,
        num_workers=num_workers,
        pin_memory=_is_on_gpu(cfg),
        persistent_workers=num_workers > 0,
        worker_init_fn=spare_worker,
        # Forked workers share the feature cache with this process.
        multiprocessing_context="fork" if num_workers else None,
        # Of its own, so that starting workers draws nothing from the generator that dropout uses.
        generator=torch.Generator().manual_seed(cfg.SOLVER.SEED),
    )
