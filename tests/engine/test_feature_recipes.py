"""A model meets features of its own recipe only: in training, resuming, starting from weights, and testing."""

import dataclasses
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tiny import tiny_config

from mmn.data.features import FeatureFile
from mmn.data.moment_files import feature_recipe, write_clip_file
from mmn.data.splits import Splits
from mmn.engine.run import test as run_test
from mmn.engine.run import train
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.checkpoint import CheckpointFolder, export_weights, load_checkpoint
from mmn.utils.errors import DataError
from mmn.utils.logger import get_logger

CPU = torch.device("cpu")
RECIPE = FeatureRecipe(
    backbone="clip",
    layer="image_embeds",
    weights_sha256="ab" * 32,
    fps=1.0,
    clip_length=1,
    stride=1,
    image_size=(32, 32),
    resize="bicubic",
    channels="RGB",
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    weights="tiny",
    versions={"torch": "2.13.0"},
)
OTHER = dataclasses.replace(RECIPE, fps=3.0)
BOTH = r"clip image_embeds of tiny .* 1 fps.*clip image_embeds of tiny .* 3 fps.*differs in fps"


@pytest.fixture
def root(dataset_root, tmp_path):
    """A DATASETS.ROOT of its own, with a catalog in which the splits can have feature files of their own."""
    folder = tmp_path / "data" / "synthetic"
    folder.mkdir(parents=True)
    for source in (dataset_root / "synthetic").iterdir():
        (folder / source.name).symlink_to(source)
    (folder / "features.hdf5").unlink()
    for name in ("train", "val", "test"):
        content = (dataset_root / "synthetic" / "features.hdf5").read_bytes()
        (folder / f"{name}.hdf5").write_bytes(content)
    entries = {
        f"own_{name}": {"annotation": f"synthetic/{name}.json", "features": f"synthetic/{name}.hdf5"}
        for name in ("train", "val", "test")
    }
    (tmp_path / "catalog.yaml").write_text(json.dumps(entries))
    return tmp_path / "data"


def make_config(root, *options):
    own = [
        *("PATHS_CATALOG", str(root.parent / "catalog.yaml"), "SOLVER.MAX_EPOCH", "1"),
        *("DATASETS.TRAIN", "('own_train',)", "DATASETS.VAL", "('own_val',)", "DATASETS.TEST", "('own_test',)"),
    ]
    return tiny_config(root, root.parent / "output", *own, *options)


def mark(root, recipe, *splits):
    """Write a recipe, or none, into the splits' feature files."""
    for split in splits or ("train", "val", "test"):
        with h5py.File(root / "synthetic" / f"{split}.hdf5", "a") as file:
            for name in [name for name in file.attrs if name.startswith("recipe_")]:
                del file.attrs[name]
            file.attrs.update(recipe.to_attributes() if recipe else {})


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(get_logger(), "propagate", True)
    caplog.set_level("INFO", get_logger().name)
    return caplog


@pytest.fixture
def trained(root):
    """The config of a finished run on features of RECIPE."""
    mark(root, RECIPE)
    cfg = make_config(root)
    Path(cfg.OUTPUT_DIR).mkdir()
    train(cfg, CPU)
    return cfg


def last_checkpoint(cfg):
    return CheckpointFolder(cfg.OUTPUT_DIR, cfg.MODEL.MMN.FEAT2D.NAME).last_path()


def recipe_of(path):
    return FeatureRecipe.from_dict(load_checkpoint(path)["feature_recipe"], path)


def test_feature_file_gives_its_recipe(root):
    mark(root, RECIPE, "train")
    mark(root, None, "val")
    assert FeatureFile(str(root / "synthetic" / "train.hdf5"), "{vid}", 8).recipe() == RECIPE
    assert FeatureFile(str(root / "synthetic" / "val.hdf5"), "{vid}", 8).recipe() is None


def test_clip_cache_keeps_the_recipe_without_the_feature_file(root, tmp_path):
    mark(root, RECIPE)
    cfg = make_config(root, "DATALOADER.CACHE_DIR", str(tmp_path / "clips"))
    write_clip_file(cfg, Splits(cfg).find("own_train"))
    (root / "synthetic" / "train.hdf5").unlink()
    assert feature_recipe(cfg, Splits(cfg).find("own_train")).extraction == RECIPE


def test_clip_cache_of_an_earlier_version_has_no_recipe(root, tmp_path):
    cfg = make_config(root, "DATALOADER.CACHE_DIR", str(tmp_path / "clips"))
    write_clip_file(cfg, Splits(cfg).find("own_train"))
    path = tmp_path / "clips" / "own_train.json"
    index = json.loads(path.read_text())
    del index["recipe"]
    path.write_text(json.dumps(index))
    assert feature_recipe(cfg, Splits(cfg).find("own_train")) is None


def test_checkpoints_and_exported_weights_carry_the_recipe(trained, tmp_path):
    path = last_checkpoint(trained)
    assert recipe_of(path) == RECIPE
    export_weights(path, str(tmp_path / "w.safetensors"))
    assert recipe_of(str(tmp_path / "w.safetensors")) == RECIPE
    run_test(trained, CPU, str(tmp_path / "w.safetensors"))


def test_testing_on_other_features_is_refused_with_both(trained, root):
    mark(root, OTHER, "test")
    with pytest.raises(DataError, match=f"{re.escape(last_checkpoint(trained))} is trained.*split own_test.*"):
        run_test(trained, CPU, last_checkpoint(trained))
    with pytest.raises(DataError, match=BOTH):
        run_test(trained, CPU, last_checkpoint(trained))


def test_resuming_on_other_features_is_refused_with_both(trained, root):
    mark(root, OTHER)
    with pytest.raises(DataError, match=BOTH):
        train(make_config(root, "SOLVER.RESUME", "True", "SOLVER.MAX_EPOCH", "2"), CPU)


def test_starting_from_weights_of_other_features_is_refused_with_both(trained, root):
    mark(root, OTHER)
    with pytest.raises(DataError, match=BOTH):
        train(make_config(root, "SOLVER.INIT_WEIGHTS", last_checkpoint(trained)), CPU)


def test_resuming_on_features_that_do_not_say_keeps_the_recipe(trained, root, log):
    mark(root, None)
    cfg = make_config(root, "SOLVER.RESUME", "True", "SOLVER.MAX_EPOCH", "2")
    train(cfg, CPU)
    assert "the features of own_train do not say how they were made" in log.text
    assert recipe_of(last_checkpoint(cfg)) == RECIPE


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_features_unlike_the_training_ones_are_refused_before_training(root, split):
    mark(root, RECIPE)
    mark(root, OTHER, split)
    with pytest.raises(DataError, match=BOTH):
        train(make_config(root), CPU)


def test_training_splits_of_different_recipes_are_refused_with_both(root):
    mark(root, RECIPE)
    mark(root, OTHER, "val")
    with pytest.raises(DataError, match=f"split own_train are .*{BOTH}"):
        train(
            make_config(root, "DATASETS.TRAIN", "('own_train', 'own_val')", "DATASETS.VAL", "()"), CPU, will_test=False
        )


@pytest.mark.parametrize(("paths", "difference"), [(["b", "a"], "order of tracks"), (["a", "c"], "track name")])
def test_features_in_another_order_or_of_other_tracks_are_refused(root, paths, difference):
    rng = np.random.default_rng(0)
    videos = {
        video
        for name in ("train", "val", "test")
        for video in json.loads((root / f"synthetic/{name}.json").read_text())
    }
    for name in "abc":
        (root / name).mkdir()
        for video in videos:
            np.save(root / name / f"{video}.npy", rng.standard_normal((9, 4), np.float32))

    def entry(split, names):
        return {
            "annotation": f"synthetic/{split}.json",
            "tracks": [{"path": name, "format": "npy", "width": 4, "name": name} for name in names],
        }

    entries = {f"own_{split}": entry(split, "ab") for split in ("train", "val", "test")}
    (root.parent / "catalog.yaml").write_text(json.dumps(entries))
    cfg = make_config(root, "MODEL.MMN.FEATPOOL.INPUT_SIZE", "[4, 4]")
    Path(cfg.OUTPUT_DIR).mkdir()
    train(cfg, CPU)
    run_test(cfg, CPU)
    (root.parent / "catalog.yaml").write_text(json.dumps(entries | {"own_test": entry("test", paths)}))
    with pytest.raises(DataError, match=rf"trained on features of a \(4\), b \(4\), but .* differs in {difference}"):
        run_test(cfg, CPU)


def test_a_checkpoint_that_does_not_say_is_accepted_with_a_word(root, log):
    mark(root, None)
    cfg = make_config(root)
    Path(cfg.OUTPUT_DIR).mkdir()
    train(cfg, CPU)
    assert "feature_recipe" not in load_checkpoint(last_checkpoint(cfg))
    assert "how they were made" not in log.text
    mark(root, OTHER, "test")
    run_test(cfg, CPU)
    assert "does not say which features it is trained on; own_test has clip image_embeds of tiny" in log.text
