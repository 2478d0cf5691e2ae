"""A tiny CLIP folder and a few videos."""

import odd_videos
import pytest
import torch


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A random CLIP image encoder for pictures of 32 x 32, D = 16, as `save_pretrained` leaves one."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPVisionConfig(**sizes, image_size=32, patch_size=8, projection_dim=16)
    folder = tmp_path_factory.mktemp("clip")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory):
    """Three good videos of 2 s, a text file with a video's name, and one that is none by its name."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("one.mp4", "two.mkv", "deeper/three.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        odd_videos.write_video(folder / name)
    (folder / "broken.mp4").write_text("no video")
    (folder / "notes.txt").write_text("no video")
    return folder
