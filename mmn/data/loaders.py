"""Datasets -> batches on their way to this process: loaders and collators."""

from collections.abc import Callable, Sequence

import torch
from torch.utils.data import ConcatDataset, Dataset, Sampler
from yacs.config import CfgNode

from mmn.data.batch_loader import BatchLoader
from mmn.data.collate import Collator
from mmn.data.samplers import EpochSampler, ShardSampler
from mmn.data.tokenizer import QueryTokenizer
from mmn.utils import comm
from mmn.utils.preemption import spare_worker


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


def build_collator(cfg: CfgNode, tokenizer: QueryTokenizer, kind: Callable[..., Collator] = Collator) -> Collator:
    """The collator for the sentences of `tokenizer` on the device of MODEL.DEVICE."""
    return kind(tokenizer.pad_id, 8 if _is_on_gpu(cfg) else 1, tokenizer.max_length)


def _is_on_gpu(cfg: CfgNode) -> bool:
    return comm.resolve_device(cfg.MODEL.DEVICE, "MODEL.DEVICE").type != "cpu"


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
