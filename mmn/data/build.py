"""cfg -> datasets and loaders."""

import os

from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler
from yacs.config import CfgNode

from mmn.config.paths_catalog import get_entry, load_catalog
from mmn.data.annotations import read_annotations
from mmn.data.collate import Collator
from mmn.data.dataset import MomentDataset
from mmn.data.features import FeatureFile
from mmn.data.samplers import EpochSampler, ShardSampler
from mmn.data.tokenizer import QueryTokenizer
from mmn.utils import comm
from mmn.utils.errors import ConfigError

GIGABYTE = 1024**3


def build_tokenizer(cfg: CfgNode) -> QueryTokenizer:
    return QueryTokenizer(cfg.MODEL.MMN.TEXT_ENCODER.PRETRAINED)


def build_dataset(cfg: CfgNode, name: str, tokenizer: QueryTokenizer) -> MomentDataset:
    """The split of this name in the catalog. Reads annotations, tokenises, and checks that the features are there."""
    entry = get_entry(name, load_catalog(cfg.PATHS_CATALOG))
    videos = read_annotations(os.path.join(cfg.DATASETS.ROOT, entry.annotation), entry.time_unit)
    features = FeatureFile(
        os.path.join(cfg.DATASETS.ROOT, entry.features), entry.feature_key, cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE
    )
    cache_bytes = cfg.DATALOADER.CACHE_GB * GIGABYTE
    return MomentDataset(name, videos, features, tokenizer, cfg.INPUT.NUM_PRE_CLIPS, cache_bytes, entry.thresholds)


def build_train_loader(cfg: CfgNode, tokenizer: QueryTokenizer) -> DataLoader:
    """This process's share of the training splits, in the order of the sampler's epoch."""
    datasets = [build_dataset(cfg, name, tokenizer) for name in split_names(cfg, "TRAIN")]
    dataset = datasets[0] if len(datasets) == 1 else ConcatDataset(datasets)
    sampler = EpochSampler(len(dataset), comm.get_rank(), comm.get_world_size())
    return _build_loader(cfg, dataset, sampler, cfg.SOLVER.BATCH_SIZE, tokenizer.pad_id)


def build_test_loader(cfg: CfgNode, name: str, tokenizer: QueryTokenizer) -> DataLoader:
    """This process's share of one split, in annotation order."""
    dataset = build_dataset(cfg, name, tokenizer)
    sampler = ShardSampler(len(dataset), comm.get_rank(), comm.get_world_size())
    return _build_loader(cfg, dataset, sampler, cfg.TEST.BATCH_SIZE, tokenizer.pad_id)


def split_names(cfg: CfgNode, key: str) -> tuple[str, ...]:
    """The split names of DATASETS.<key>; none at all is an error."""
    if not cfg.DATASETS[key]:
        raise ConfigError(f"DATASETS.{key} is empty: name a split of the catalog, e.g. ('charades_train',)")
    return cfg.DATASETS[key]


def _build_loader(cfg: CfgNode, dataset: Dataset, sampler: Sampler, batch_size: int, pad_id: int) -> DataLoader:
    num_workers = cfg.DATALOADER.NUM_WORKERS
    return DataLoader(
        dataset,
        batch_size=batch_size // comm.get_world_size(),
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=Collator(pad_id),
        pin_memory=comm.resolve_device(cfg.MODEL.DEVICE).type != "cpu",
        persistent_workers=num_workers > 0,
        # Forked workers share the feature cache with this process.
        multiprocessing_context="fork" if num_workers else None,
    )
