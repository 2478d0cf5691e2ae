"""The models and batches that are measured: released widths, random weights, random features."""

import json
import os

import torch
from transformers import DistilBertConfig
from yacs.config import CfgNode

from mmn.apps.benchmark.batch_sizes import Setting
from mmn.config import load_config
from mmn.data.annotations import VideoAnnotation
from mmn.data.collate import Collator
from mmn.data.dataset import VideoSample
from mmn.structures.batch import GroundingBatch


def measured_config(setting: Setting, encoder_folder: str, options: list[str]) -> CfgNode:
    """The released config of a setting with a random text encoder of distilbert-base-uncased's size.

    Args:
        encoder_folder: a folder for that encoder's config.json; nothing is downloaded.
        options: further KEY VALUE pairs.
    """
    os.makedirs(encoder_folder, exist_ok=True)
    with open(os.path.join(encoder_folder, "config.json"), "w") as file:
        json.dump(DistilBertConfig().to_dict(), file)
    options = ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", encoder_folder, *options]
    return load_config(setting.name, options)


def random_batch(cfg: CfgNode, setting: Setting, seed: int = 0) -> GroundingBatch:
    """Random features and token ids, sentences of 6 to 20 tokens, moments anywhere in the video."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for video in range(setting.num_videos):
        feats = torch.rand(cfg.INPUT.NUM_PRE_CLIPS, cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE, generator=generator)
        lengths = torch.randint(6, 21, (setting.num_sentences,), generator=generator).tolist()
        tokens = [torch.randint(1000, 30000, (length,), generator=generator).int().numpy() for length in lengths]
        bounds = torch.rand(setting.num_sentences, 2, generator=generator).sort(dim=1).values * setting.duration
        sentences = [f"sentence {number}" for number in range(setting.num_sentences)]
        annotation = VideoAnnotation(f"video {video}", setting.duration, sentences, bounds[:, None].numpy())
        samples.append(VideoSample(feats.numpy(), tokens, annotation, video * setting.num_sentences))
    return Collator(pad_id=0)(samples)
