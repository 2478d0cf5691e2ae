"""Data, in both forms: constructing a split of ActivityNet's size, and resampling a video's features.

`python -m mmn.apps.benchmark.data_loading plain|ours FOLDER` constructs the split in a process of its own and prints json.
"""

import json
import os
import sys
import time

import h5py
import numpy as np
import torch

from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
from mmn.config.catalog_entries import CatalogEntry
from mmn.data.annotations import read_annotations
from mmn.data.cache import SharedClipCache
from mmn.data.dataset import MomentDataset
from mmn.data.feature_tracks import FeatureTracks
from mmn.data.features import FeatureFile
from mmn.data.tokenizer import QueryTokenizer
from mmn.reference import iou_map
from mmn.utils.memory import peak_memory_mb

NUM_VIDEOS, NUM_SENTENCES, NUM_CLIPS = 10009, 37417, 64
NUM_PRE_CLIPS, INPUT_SIZE = 256, 8  # the width is small: constructing reads no features
WORDS = [f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me", "ro", "sa", "ti", "vo", "zu") for b in "bcdfglmnprstv"]


def write_split(folder: str) -> None:
    """A made-up split with as many videos and sentences as ActivityNet's train split, sentences of 6 to 20 words."""
    rng = np.random.default_rng(0)
    counts = np.full(NUM_VIDEOS, NUM_SENTENCES // NUM_VIDEOS)
    counts[: NUM_SENTENCES - counts.sum()] += 1
    content, vocabulary = {}, [" ".join(WORDS)]
    for video, count in enumerate(counts):
        times = np.sort(rng.uniform(0, 120, (count, 2)), axis=1).round(2) + [0, 0.01]
        sentences = [" ".join(rng.choice(WORDS, rng.integers(6, 21))) for _ in range(count)]
        content[f"v_{video:06d}"] = {"duration": 120.5, "timestamps": times.tolist(), "sentences": sentences}
    with open(os.path.join(folder, "train.json"), "w") as file:
        json.dump(content, file)
    with h5py.File(os.path.join(folder, "features.hdf5"), "w") as file:
        for video_id in content:
            file[f"{video_id}/c3d_features"] = np.zeros((2, INPUT_SIZE), dtype=np.float32)
    write_tiny_encoder(os.path.join(folder, "encoder"), vocabulary)


def construct(folder: str, form: str) -> object:
    """The split, ready for training. The plain form tokenises sentence by sentence and makes every IoU map."""
    tokenizer = QueryTokenizer(os.path.join(folder, "encoder"))
    videos = read_annotations(os.path.join(folder, "train.json"))
    if form == "plain":
        return [
            (tokenizer.tokenizer(sentence)["input_ids"], iou_map(torch.from_numpy(moment), video.duration, NUM_CLIPS))
            for video in videos
            for sentence, (moment,) in zip(video.sentences, video.moments_by_sentence, strict=True)
        ]
    features = FeatureTracks([FeatureFile(os.path.join(folder, "features.hdf5"), "{vid}/c3d_features", INPUT_SIZE)])
    features.check(video.video_id for video in videos)
    cache = SharedClipCache(len(videos), NUM_PRE_CLIPS, INPUT_SIZE, budget=2**30)
    return MomentDataset("train", videos, features, tokenizer, NUM_PRE_CLIPS, cache, CatalogEntry.thresholds)


def main() -> None:
    form, folder = sys.argv[1:]
    before, start = peak_memory_mb(torch.device("cpu")), time.perf_counter()
    split = construct(folder, form)
    seconds = time.perf_counter() - start
    after = peak_memory_mb(torch.device("cpu"))
    print(json.dumps({"seconds": seconds, "memory_mb": after - before, "items": len(split)}))


if __name__ == "__main__":
    main()
