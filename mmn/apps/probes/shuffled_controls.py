"""A trained model with one of its two inputs made wrong: how much of its recall needs both?

* sentences shuffled: each video is searched for a sentence of another one. What recall is left comes from the video
  alone, and from the prior ("video-only").
* videos shuffled: each sentence is searched in the features of another video, in shares of its own video's duration.
  What is left comes from the sentence alone, and from the prior ("query-only").
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset
from yacs.config import CfgNode

from mmn.data import build_test_loader
from mmn.data.dataset import MomentDataset, VideoSample
from mmn.data.splits import Splits
from mmn.engine.run import load_model
from mmn.engine.tasks import find_task
from mmn.evaluation.inference import predict
from mmn.utils.errors import ConfigError, DataError


class ShuffledVideos(Dataset):
    """A split in which each video has the features of another one."""

    def __init__(self, dataset: MomentDataset, seed: int):
        self.dataset = dataset
        if len(dataset.videos) < 2:
            raise DataError(f"the split {dataset.name} has a single video: there is nothing to shuffle it with")
        order = np.random.default_rng(seed).permutation(len(dataset.videos))
        self.source = np.empty_like(order)
        self.source[order] = np.roll(order, 1)  # around one circle, so that none keeps its own

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> VideoSample:
        source = int(self.source[self.dataset.video_number(index)])
        return replace(self.dataset[index], clips=self.dataset.clips(source))


class ShuffledSentences(Dataset):
    """A split in which each sentence is replaced by one of another video."""

    def __init__(self, dataset: MomentDataset, seed: int):
        self.dataset = dataset
        counts = np.diff(dataset.first_sentence)
        shift = int(counts.max())
        if shift > dataset.num_sentences - shift:
            raise DataError(
                f"the split {dataset.name} has more than half of its sentences in one video: they cannot all be "
                "replaced by those of other videos"
            )
        generator = np.random.default_rng(seed)
        # Video by video around a circle, further on than any video has sentences.
        order = np.concatenate(
            [
                generator.permutation(np.arange(dataset.first_sentence[video], dataset.first_sentence[video + 1]))
                for video in generator.permutation(len(counts))
            ]
        )
        self.source = np.empty_like(order)
        self.source[order] = np.roll(order, shift)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> VideoSample:
        numbers = self.source[self.dataset.sentence_numbers(index)]
        return replace(self.dataset[index], tokens=[self.dataset.tokens[number] for number in numbers])


CONTROLS: dict[str, Callable[[MomentDataset, int], Dataset]] = {
    "as it is": lambda dataset, seed: dataset,
    "sentences shuffled (video-only)": ShuffledSentences,
    "videos shuffled (query-only)": ShuffledVideos,
}


def run_controls(
    cfg: CfgNode, device: torch.device, ckpt: str | None, seed: int = 0
) -> dict[str, dict[str, dict[str, float]]]:
    """The metrics of a checkpoint (None: the best, else the last of OUTPUT_DIR) by test split and control.

    Raises ConfigError where the config's task has no moments of sentences in videos.
    """
    task = find_task(cfg)
    splits, tokenizer, ranker = Splits(cfg).named("TEST"), task.build_tokenizer(cfg), task.build_ranker(cfg)
    model, results = load_model(cfg, device, splits, ckpt), {}
    for split in splits:
        dataset = task.build_dataset(cfg, split, tokenizer)
        if not isinstance(dataset, MomentDataset):
            raise ConfigError(
                f"MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE} has no shuffled controls: give a config of MMN"
            )
        results[split.name] = {}
        for name, control in CONTROLS.items():
            loader = build_test_loader(cfg, control(dataset, seed), task.build_collator(cfg, tokenizer))
            results[split.name][name] = task.evaluate(predict(model, loader, ranker, device), dataset)
    return results
