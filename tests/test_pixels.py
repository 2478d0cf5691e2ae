"""From pixels to moments at the smallest sizes: videos, features by the tool, training by the tool, a search."""

import json
import math

import h5py
import numpy as np
import pytest
from processes import launch
from tiny import ROOT, tiny_options

pytest.importorskip("av", reason="PyAV is not installed: pip install .[video]")

from mmn.apps.localize.localize_command import Outputs, localize_video
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.video_source import VideoSource
from mmn.apps.synthetic.options import ShapeOptions
from mmn.apps.synthetic.shape_dataset import write_shape_dataset
from mmn.apps.synthetic.tiny_vision import write_tiny_vision
from mmn.apps.video.decode import probe

CONFIG = str(ROOT / "configs" / "pixels.yaml")
DIM = 8


def succeed(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A DATASETS.ROOT with `pixels`: rendered videos, and their features by tools/extract_features.py."""
    root = tmp_path_factory.mktemp("dataset")
    options = ShapeOptions(num_train=3, num_val=1, num_test=2, size=32, fps=8, min_seconds=4, max_seconds=6)
    folder = write_shape_dataset(root / "pixels", options, log=lambda line: None)
    write_tiny_vision(folder / "image_encoder", image_size=16, patch_size=8, hidden_size=16, num_layers=1, dim=DIM)
    succeed(
        launch(
            *(1, "extract_features.py", "--videos", folder / "videos", "--out", folder / "features.hdf5"),
            *("--backbone", "clip", "--weights", folder / "image_encoder", "--fps", 4, "--device", "cpu"),
        )
    )
    return root


@pytest.fixture(scope="module")
def checkpoint(root, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "output"
    options = [
        *tiny_options(root, output),
        *("MODEL.MMN.TEXT_ENCODER.PRETRAINED", str(root / "pixels" / "text_encoder"), "SOLVER.MAX_EPOCH", "1"),
        *("MODEL.MMN.FEATPOOL.INPUT_SIZE", str(DIM)),
    ]
    succeed(launch(1, "train_net.py", "--config-file", CONFIG, "--skip-test", *options))
    return output / "pool_model_best.pth"


@pytest.fixture(scope="module")
def localizer(checkpoint, root):
    weights = str(root / "pixels" / "image_encoder")
    return MomentLocalizer.from_checkpoint(checkpoint, device="cpu", backbone_weights=weights)


def test_every_video_has_a_row_per_quarter_of_a_second(root):
    entries = {
        vid: entry
        for split in ("train", "val", "test")
        for vid, entry in json.loads((root / "pixels" / f"{split}.json").read_text()).items()
    }
    with h5py.File(root / "pixels" / "features.hdf5") as file:
        assert set(file) == entries.keys()
        for vid, entry in entries.items():
            assert file[vid].shape == (math.ceil(entry["duration"] * 4), DIM)


def test_model_knows_how_its_features_were_made(localizer):
    assert (localizer.recipe.backbone, localizer.recipe.fps, localizer.recipe.weights) == ("clip", 4, "image_encoder")


def test_search_in_a_video_is_that_in_its_features(localizer, root):
    path = root / "pixels" / "videos" / "test_0000.mp4"
    sentences = json.loads((root / "pixels" / "test.json").read_text())["test_0000"]["sentences"]
    with h5py.File(root / "pixels" / "features.hdf5") as file:
        rows = file["test_0000"][:]
    found = localizer.localize(str(path), sentences, top_k=3)
    expected = localizer.localize(localizer.encode_video(rows, duration=probe(path).duration), sentences, top_k=3)
    assert [result.query for result in found] == sentences
    for result, wanted in zip(found, expected, strict=True):
        times = [[(moment.start, moment.end, moment.score) for moment in part.moments] for part in (result, wanted)]
        np.testing.assert_allclose(*times, atol=1e-4)


def test_search_writes_moments_within_the_video_and_cuts_them_out(localizer, root, tmp_path):
    path = root / "pixels" / "videos" / "test_0001.mp4"
    entry = json.loads((root / "pixels" / "test.json").read_text())["test_0001"]
    outputs = Outputs(json=str(tmp_path / "moments.jsonl"), clip_dir=str(tmp_path / "clips"))
    localize_video(localizer, VideoSource(str(path)), entry["sentences"][:1], top_k=2, outputs=outputs)
    record = json.loads((tmp_path / "moments.jsonl").read_text())
    assert record["query"] == entry["sentences"][0]
    windows = record["pred_relevant_windows"]
    assert len(windows) == 2
    assert all(0 <= start < end <= entry["duration"] + 1e-3 for start, end, _ in windows)
    lengths = sorted(probe(path).duration for path in (tmp_path / "clips").glob("*.mp4"))
    np.testing.assert_allclose(lengths, sorted(end - start for start, end, _ in windows), atol=0.02)
