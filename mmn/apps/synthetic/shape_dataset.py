"""A small grounding dataset that begins with real video files, rendered here: see `shape_videos.py`, `shape_rendering.py`.

`write_shape_dataset` writes, in one folder:
    videos/<video id>.mp4             h264, square, no sound
    train.json, val.json, test.json   {video id: {"duration", "timestamps", "sentences"}}, in seconds, like Charades-STA
    text_encoder/                     a random encoder with a tokenizer of the train sentences (`tiny_encoder.py`)
    image_encoder/                    a random CLIP image encoder (`tiny_vision.py`), weights for the `clip` backbone
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmn.apps.synthetic.options import ShapeOptions
from mmn.apps.synthetic.shape_rendering import render
from mmn.apps.synthetic.shape_videos import ShapeVideo, make_shape_video
from mmn.apps.synthetic.synthetic_moments import SPLITS, write_annotations
from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
from mmn.apps.synthetic.tiny_vision import write_tiny_vision
from mmn.apps.video.encode import write_video

VIDEOS = "videos"
TEXT_ENCODER = "text_encoder"
IMAGE_ENCODER = "image_encoder"


def write_shape_dataset(
    folder: str | os.PathLike, options: ShapeOptions | None = None, log: Callable[[str], None] = print
) -> Path:
    """Write the whole dataset into `folder` and return the folder; the annotation files come last."""
    options = options or ShapeOptions()
    folder = Path(folder)
    videos = {split: make_videos(split, options) for split in SPLITS}
    write_videos(folder / VIDEOS, {vid: video for split in SPLITS for vid, video in videos[split].items()}, options)
    log(f"{folder / VIDEOS}: {sum(map(len, videos.values()))} videos, {options.size} pixels, {options.fps:g} fps")
    train_sentences = [text for video in videos["train"].values() for text in video.annotation()["sentences"]]
    write_tiny_encoder(folder / TEXT_ENCODER, train_sentences, hidden_size=64, vocab_size=1000, seed=options.seed)
    log(f"{folder / TEXT_ENCODER}: random text encoder")
    write_tiny_vision(folder / IMAGE_ENCODER, seed=options.seed)
    log(f"{folder / IMAGE_ENCODER}: random image encoder, for `--backbone clip --weights {folder / IMAGE_ENCODER}`")
    for split in SPLITS:
        write_annotations(folder, split, {vid: video.annotation() for vid, video in videos[split].items()}, log)
    return folder


def make_videos(split: str, options: ShapeOptions) -> dict[str, ShapeVideo]:
    """The split's timelines by video id."""
    count = {"train": options.num_train, "val": options.num_val, "test": options.num_test}[split]
    seconds = (options.min_seconds, options.max_seconds)
    return {
        f"{split}_{index:04d}": make_shape_video(split, index, options.seed, options.fps, seconds)
        for index in range(count)
    }


def write_videos(folder: Path, videos: dict[str, ShapeVideo], options: ShapeOptions) -> None:
    """Write one <video id>.mp4 per timeline, each whole or not at all."""

    def write(item: tuple[str, ShapeVideo]) -> None:
        vid, video = item
        write_video(folder / f"{vid}.mp4", render(video, options.size), video.fps)

    with ThreadPoolExecutor(options.workers) as pool:
        for _ in pool.map(write, videos.items()):  # which hands on what fails
            pass
