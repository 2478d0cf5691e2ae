"""Rows from frames: which frames a row is made of, batches, and recipes."""

import dataclasses
import shutil
import sys

import numpy as np
import odd_videos
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmn.apps.extraction.backbones import BACKBONES, Backbone
from mmn.apps.extraction.extractor import FeatureExtractor, batches, windows
from mmn.apps.extraction.frame_transform import FrameTransform
from mmn.apps.extraction.usual_sampling import UsualSampling
from mmn.apps.video.decode import Frame
from mmn.utils.errors import CheckpointError, ConfigError, DataError, UserError


class Brightness(Backbone):
    """The mean of a frame, or of each end of a clip, twice: rows that tell what they were made of."""

    usual = UsualSampling(("mean",))
    default_weights = "none"
    dim = 2

    def __init__(self, weights, layer):
        super().__init__(weights, layer)
        self.scale = nn.Parameter(torch.ones(1))
        self.transform = FrameTransform(8, (8, 8), "bilinear", (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))

    def forward(self, inputs):
        means = inputs.mean(dim=(1, -2, -1)) * self.scale
        return means[:, [0, -1]] if self.takes_clips else means[:, None].expand(-1, 2)


class ClipBrightness(Brightness):
    takes_clips = True


@pytest.fixture
def brightness(monkeypatch):
    monkeypatch.setitem(BACKBONES.entries, "frames", Brightness)
    monkeypatch.setitem(BACKBONES.entries, "clips", ClipBrightness)


def grey_frames(num_frames):
    return (Frame(float(number), np.full((10, 12, 3), number, np.uint8)) for number in range(num_frames))


def naive_window(num_frames, row, length, stride):
    """The numbers of the frames that a row describes: `length` of them around its `stride`, kept inside the video."""
    start = row * stride - (length - stride) // 2
    return [min(max(number, 0), num_frames - 1) for number in range(start, start + length)]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_windows_are_the_naive_ones(num_frames, length, stride):
    num_rows = -(-num_frames // stride)
    expected = [naive_window(num_frames, row, length, stride) for row in range(num_rows)]
    assert list(windows(range(num_frames), length, stride)) == expected


def test_windows_look_ahead_no_further_than_they_must():
    taken = []
    ahead = windows((taken.append(number) or number for number in range(1000)), 8, 2)
    assert [next(ahead) for _ in range(50)][-1][-1] == len(taken) - 1


@pytest.mark.parametrize("length, stride", [(1, 1), (4, 2), (1, 3), (5, 5)])
@pytest.mark.parametrize("num_frames", [1, 2, 17])
def test_frames_of_a_clip_are_averaged(brightness, length, stride, num_frames):
    extractor = FeatureExtractor("frames", clip_length=length, stride=stride, batch_size=4)
    rows = np.concatenate(list(extractor.encode(grey_frames(num_frames))))
    expected = [np.mean(naive_window(num_frames, row, length, stride)) for row in range(-(-num_frames // stride))]
    assert rows[:, 0] == pytest.approx(expected, abs=1e-3)
    assert rows.dtype == np.float32


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_clips_are_seen_whole_in_batches_of_any_size(brightness, batch_size):
    extractor = FeatureExtractor("clips", clip_length=4, stride=2, batch_size=batch_size)
    parts = list(extractor.encode(grey_frames(17)))
    assert max(len(part) for part in parts) == min(batch_size, 9)
    expected = [naive_window(17, row, 4, 2) for row in range(9)]
    assert np.concatenate(parts) == pytest.approx(np.array([[clip[0], clip[-1]] for clip in expected]), abs=1e-3)


def test_rows_that_are_not_finite_are_refused_by_name(brightness):
    extractor = FeatureExtractor("frames")
    extractor.backbone.scale.fill_(float("nan"))
    with pytest.raises(DataError, match=r"v\.mp4 gives features that are not finite"):
        list(extractor.encode(grey_frames(3), "v.mp4"))


@pytest.mark.parametrize("options", [{}, {"clip_length": 4, "stride": 2}])
def test_a_video_without_a_frame_is_refused_by_name(brightness, options):
    with pytest.raises(DataError, match=r"v\.mp4 gives no frame"):
        list(FeatureExtractor("frames", **options).encode(iter(()), "v.mp4"))


@pytest.mark.parametrize(
    "options, named",
    [
        ({"fps": -1}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"stride": 0}, "stride"),
        ({"clip_length": 0}, "clip length"),
        ({"batch_size": 0}, "batch size"),
        ({"layer": "maen"}, "did you mean mean"),
        ({"weights": "random"}, "random:SEED"),
    ],
)
def test_options_that_cannot_work_are_refused(brightness, options, named):
    with pytest.raises(ConfigError, match=named):
        FeatureExtractor("frames", **options)


def test_unknown_backbone_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="--backbone is 'clap'.*clip"):
        FeatureExtractor("clap")


def test_without_pyav_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install \.\[video\]"):
        FeatureExtractor("clip")


# ---- CLIP --------------------------------------------------------------------------------------------------------------


def test_clip_rows_are_the_model_s_own(clip_folder, tmp_path):
    from transformers import CLIPVisionModelWithProjection

    path = odd_videos.write_video(tmp_path / "v.mp4", size=(32, 32))
    extractor = FeatureExtractor("clip", clip_folder, fps=2)
    rows = extractor.extract(path)
    model = CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval()
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    for row, frame in zip(rows, extractor.frames(path), strict=True):
        pixels = ((torch.from_numpy(frame.image).float() / 255 - mean) / std).permute(2, 0, 1)
        with torch.no_grad():
            assert row == pytest.approx(model(pixel_values=pixels[None]).image_embeds[0].numpy(), abs=1e-5)
    assert rows.shape == (4, 16)


def test_recipe_tells_weights_by_their_values(clip_folder, tmp_path):
    from transformers import CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection.from_pretrained(clip_folder)
    model.save_pretrained(tmp_path / "copy")
    assert FeatureExtractor("clip", str(tmp_path / "copy")).recipe == FeatureExtractor("clip", clip_folder).recipe
    model.visual_projection.weight.data[0, 0] += 1
    model.save_pretrained(tmp_path / "changed")
    assert FeatureExtractor("clip", str(tmp_path / "changed")).recipe != FeatureExtractor("clip", clip_folder).recipe


def test_extractor_is_made_again_from_its_recipe(clip_folder):
    recipe = FeatureExtractor("clip", clip_folder, fps=0, clip_length=4, stride=2).recipe
    assert FeatureExtractor.from_recipe(recipe, clip_folder).recipe == recipe


def test_other_weights_than_the_recipe_s_are_refused_with_both(clip_folder):
    recipe = dataclasses.replace(FeatureExtractor("clip", clip_folder).recipe, weights_sha256="0" * 64)
    with pytest.raises(ConfigError, match="sha256 000000000000.*differs in weights_sha256"):
        FeatureExtractor.from_recipe(recipe, clip_folder)


def test_clip_without_a_projection_is_refused(clip_folder, tmp_path):
    shutil.copytree(clip_folder, tmp_path / "clip")
    weights = safetensors.torch.load_file(tmp_path / "clip" / "model.safetensors")
    del weights["visual_projection.weight"]
    safetensors.torch.save_file(weights, tmp_path / "clip" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 1 weights.*visual_projection\.weight"):
        FeatureExtractor("clip", str(tmp_path / "clip"))


def test_a_folder_that_does_not_exist_is_refused_with_the_flag(tmp_path):
    with pytest.raises(ConfigError, match="--weights points to the folder .*none, which does not exist"):
        FeatureExtractor("clip", str(tmp_path / "none"))


def test_clip_that_cannot_be_had_says_how_to_get_it():
    with pytest.raises(ConfigError, match="the CLIP model 'nobody/has-this' is not on this machine.*set --weights"):
        FeatureExtractor("clip", "nobody/has-this")


# ---- Making batches ----------------------------------------------------------------------------------------------


def test_batches_stack_what_there_is():
    assert [batch.tolist() for batch in batches(map(torch.tensor, range(5)), 2)] == [[0, 1], [2, 3], [4]]
