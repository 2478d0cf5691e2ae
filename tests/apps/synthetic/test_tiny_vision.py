"""The random image encoder: loads as CLIP weights do, depends on its seed alone, and sees colours and places."""

import json

import numpy as np
import pytest
import torch

from mmn.apps.extraction.backbone_weights import Weights
from mmn.apps.extraction.backbones import ClipBackbone
from mmn.apps.synthetic.tiny_vision import write_tiny_vision
from mmn.utils.errors import ConfigError

SIZES = {"image_size": 32, "patch_size": 8, "hidden_size": 64, "num_layers": 2, "dim": 64}


def load(folder):
    return ClipBackbone(Weights.parse(str(folder)), "image_embeds").eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_vision(tmp_path_factory.mktemp("image_encoder"), seed=3, **SIZES)


def embed(backbone, pictures):
    """uint8 [B, 32, 32, 3] -> [B, D] unit rows, through the backbone's own transform."""
    with torch.inference_mode():
        inputs = backbone.transform.normalise(torch.stack([backbone.transform(picture) for picture in pictures]))
        return torch.nn.functional.normalize(backbone(inputs), dim=-1)


def dots(colours, places, size=8):
    """A square dot per (colour, place) on dark ground: uint8 [B, 32, 32, 3]."""
    pictures = np.full((len(colours), 32, 32, 3), 40, np.uint8)
    for picture, colour, (row, column) in zip(pictures, colours, places, strict=True):
        picture[row : row + size, column : column + size] = colour
    return pictures


def test_folder_is_taken_as_clip_weights(folder):
    backbone = load(folder)
    assert backbone.dim == 64
    assert embed(backbone, dots([(255, 0, 0)], [(4, 4)])).shape == (1, 64)


def test_folder_says_that_its_weights_are_random(folder):
    assert json.loads((folder / "config.json").read_text())["weights_origin"] == "random, seed 3, never trained"


def test_same_seed_gives_the_same_bytes(folder, tmp_path):
    again, other = (write_tiny_vision(tmp_path / str(seed), seed=seed, **SIZES) for seed in (3, 4))
    content = (folder / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == content
    assert (other / "model.safetensors").read_bytes() != content


def test_global_random_state_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    write_tiny_vision(tmp_path, **SIZES)
    torch.testing.assert_close(torch.rand(3), expected)


def test_colour_and_place_can_be_read_off_by_a_linear_map(folder):
    """Fitted to dots of some shifts, a linear map tells those of others; a guess would be right in a quarter."""
    backbone, rng = load(folder), np.random.default_rng(0)
    colours = np.array([(230, 40, 40), (40, 200, 60), (50, 90, 240), (240, 220, 40)])
    places = np.array([(4, 4), (4, 20), (20, 4), (20, 20)])
    colour, place = rng.integers(4, size=(2, 600))
    rows = embed(backbone, dots(colours[colour], places[place] + rng.integers(-3, 4, (600, 2)))).double()
    for label in (colour, place):
        targets = torch.nn.functional.one_hot(torch.from_numpy(label), 4).double()
        weights = torch.linalg.lstsq(rows[:400], targets[:400]).solution
        assert ((rows[400:] @ weights).argmax(1).numpy() == label[400:]).mean() > 0.8


@pytest.mark.parametrize("wrong", [{"patch_size": 64}, {"hidden_size": 30}, {"num_layers": 0}])
def test_impossible_size_is_a_sentence(wrong, tmp_path):
    with pytest.raises(ConfigError, match="image encoder"):
        write_tiny_vision(tmp_path, **(SIZES | wrong))
