"""Preparing pictures, against Pillow and plain arithmetic."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.extraction.frame_transform import FrameTransform

Image = pytest.importorskip("PIL.Image")
MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 0.2)


def random_picture(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@given(st.integers(20, 90), st.integers(20, 90), st.sampled_from(["bilinear", "bicubic"]), st.integers(0, 9))
def test_shorter_side_and_centre_are_those_of_pillow(height, width, interpolation, seed):
    picture = random_picture(height, width, seed)
    size = (32 * width // min(height, width), 32 * height // min(height, width))
    resized = Image.fromarray(picture).resize(size, Image.Resampling[interpolation.upper()])
    left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
    expected = np.asarray(resized.crop((left, top, left + 32, top + 32)))
    found = FrameTransform(32, (32, 32), interpolation, MEAN, STD)(picture)
    assert found.shape == (3, 32, 32)
    difference = np.abs(found.permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 3  # each of the two passes rounds to whole numbers
    assert difference.mean() < 0.3


def test_a_fixed_size_stretches():
    found = FrameTransform((16, 24), (8, 8), "bilinear", MEAN, STD)
    assert found.resized(100, 10) == (16, 24)
    assert found(random_picture(100, 10)).shape == (3, 8, 8)


def test_bgr_turns_the_channels_around():
    picture = random_picture(40, 40)
    rgb, bgr = (FrameTransform(32, (32, 32), "bilinear", MEAN, STD, channels)(picture) for channels in ("RGB", "BGR"))
    assert torch.equal(rgb, bgr.flip(0))


def test_normalising_is_per_channel():
    pictures = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2) * 10
    found = FrameTransform(2, (2, 2), "bilinear", MEAN, STD).normalise(pictures)
    for index in np.ndindex(2, 3, 2, 2):
        channel = index[1]
        assert found[index].item() == pytest.approx(
            (pictures[index].item() / 255 - MEAN[channel]) / STD[channel], abs=1e-6
        )
