"""The architectures: C3D against another way to write it, torchvision's against the whole networks, and their weights."""

import sys
from pathlib import Path

import pytest
import torch
from tiny import ROOT, run_python
from torch.nn import functional as F

from mmn.apps.extraction.backbone_weights import Weights
from mmn.apps.extraction.backbones.backbone import BACKBONES
from mmn.apps.extraction.backbones.c3d import BGR_MEAN, C3D, C3DBackbone
from mmn.utils.errors import CheckpointError, ConfigError, UserError
from mmn.utils.weight_hash import weights_sha256

TORCHVISION = Path(sys.prefix) / "torchvision"  # where scripts/test.sh puts it


# ---- C3D ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def c3d():
    return C3DBackbone(Weights.parse("random:3"), "fc6").eval()


def plain_c3d(weights, clips):
    """The same network as a list of layers; the last pooling's overhang is padded with zeros, as Keras ports have it."""
    maps = clips
    for name, pooling in (
        ("1", (1, 2, 2)),
        ("2", 2),
        ("3a", None),
        ("3b", 2),
        ("4a", None),
        ("4b", 2),
        ("5a", None),
        ("5b", 2),
    ):
        maps = F.conv3d(maps, weights[f"conv{name}.weight"], weights[f"conv{name}.bias"], padding=1).clamp(min=0)
        if name == "5b":
            maps = F.pad(maps, (0, 1, 0, 1))
        if pooling is not None:
            maps = F.max_pool3d(maps, pooling)
    return (maps.reshape(len(maps), 8192) @ weights["fc6.weight"].T + weights["fc6.bias"]).clamp(min=0)


def test_c3d_is_the_plain_network(c3d):
    clips = torch.randn(1, 3, 16, 112, 112, generator=torch.Generator().manual_seed(0)) * 50
    with torch.no_grad():
        rows = c3d(clips)
        assert rows.shape == (1, 4096)
        assert torch.allclose(rows, plain_c3d(c3d.model.state_dict(), clips), atol=1e-4)
    assert rows.count_nonzero() > 100


def test_c3d_sees_blue_first_less_its_mean(c3d):
    picture = torch.zeros(128, 171, 3, dtype=torch.uint8)
    picture[..., 2] = 200
    values = c3d.transform.normalise(c3d.transform(picture.numpy()))
    assert values[:, 0, 0].tolist() == pytest.approx([200 - BGR_MEAN[0], -BGR_MEAN[1], -BGR_MEAN[2]], abs=1e-3)
    assert values.shape == (3, 112, 112)


def test_c3d_weights_come_from_a_file_with_its_classifier(c3d, tmp_path):
    path = tmp_path / "c3d.pickle"
    others = {"fc7.weight": torch.zeros(2, 2), "fc7.bias": torch.zeros(2), "fc8.weight": torch.zeros(2, 2)}
    torch.save(c3d.model.state_dict() | others, path)
    assert weights_sha256(C3DBackbone(Weights.parse(str(path)), "fc6").state_dict()) == weights_sha256(c3d.state_dict())


def test_c3d_weights_of_another_network_are_refused_by_name(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 3, 3), "stem.bias": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=r"other\.pth does not fit.*conv1\.bias.*stem\.bias.*Sports-1M"):
        C3DBackbone(Weights.parse(str(path)), "fc6")


def test_c3d_has_no_weights_of_its_own(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pth do not exist"):
        C3DBackbone(Weights.parse(str(tmp_path / "none.pth")), "fc6")


def test_c3d_names_are_the_usual_ones():
    with torch.device("meta"):
        shapes = {name: list(value.shape) for name, value in C3D("fc7").state_dict().items()}
    convolutions = [f"conv{name}" for name in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b")]
    assert list(shapes) == [f"{name}.{kind}" for name in (*convolutions, "fc6", "fc7") for kind in ("weight", "bias")]
    assert shapes["conv5b.weight"] == [512, 512, 3, 3, 3]
    assert shapes["fc6.weight"] == [4096, 8192]


# ---- Weights -----------------------------------------------------------------------------------------------------------


def test_random_weights_depend_on_their_seed_alone():
    state = torch.get_rng_state()
    networks = (C3DBackbone(Weights.parse(f"random:{seed}"), "fc6") for seed in (1, 1, 2))
    first, second, other = (weights_sha256(network.state_dict()) for network in networks)
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("text", ["random", "random:", "random:x", "random:-1"])
def test_random_weights_need_a_seed(text):
    with pytest.raises(ConfigError, match="random:SEED"):
        Weights.parse(text)


def test_a_file_may_have_a_name_that_begins_with_random():
    assert Weights.parse("random_init.pth") == Weights("random_init.pth")


# ---- torchvision -------------------------------------------------------------------------------------------------------


def test_torchvision_s_architectures_give_their_features(tmp_path):
    if not (TORCHVISION / "torchvision").is_dir():
        pytest.skip(f"torchvision is not in {TORCHVISION}: scripts/test.sh puts it there where it can be had")
    script = ROOT / "tests" / "apps" / "extraction" / "torchvision_backbones.py"
    done = run_python(script, tmp_path, PYTHONPATH=f"{ROOT}:{TORCHVISION}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "all agree" in done.stdout


def test_torchvision_that_is_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match=r"pip install \.\[torchvision\]"):
        BACKBONES["vgg16"](Weights.parse("random:0"), "fc7")


def test_importing_the_backbones_imports_no_optional_library():
    libraries = "{'torchvision', 'transformers', 'av', 'torchcodec'}"
    done = run_python(
        "-c", f"import sys, mmn.apps.extraction.extract_files; print(*{libraries}.intersection(sys.modules))"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")
