"""Reading and writing checkpoints (SPEC section 6)."""

import argparse
import os
import pickle
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from torch import nn

from mmn.utils.checkpoint import CheckpointFolder, export_weights, load_checkpoint, load_weights
from mmn.utils.errors import CheckpointError, UserError
from mmn.utils.logger import get_logger


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "weights.pth")


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("entry", ["model", "state_dict", "model_state_dict", None])
def test_weights_come_by_their_plain_names(model, path, prefix, entry):
    weights = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({entry: weights, "epoch": 3} if entry else weights, path)
    content = load_checkpoint(path)
    assert same_weights(content["model"], model.state_dict())
    assert content.get("epoch") == (3 if entry else None)


class Foreign:
    """Stands for an object of another program."""


def test_plain_values_of_other_libraries_are_read(model, path):
    options = argparse.Namespace(lr=0.1, name="x")
    torch.save({"model": model.state_dict(), "best": np.float64(0.5), "step": np.int64(7), "args": options}, path)
    content = load_checkpoint(path)
    assert (content["best"], content["step"], content["args"]) == (0.5, 7, options)


def test_a_foreign_object_is_named_and_not_read(model, path):
    torch.save({"model": model.state_dict(), "config": Foreign()}, path)
    with pytest.raises(CheckpointError, match=r"more than tensors and plain values \(test_checkpoint\.Foreign\)"):
        load_checkpoint(path)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder: name a file in it"):
        load_checkpoint(str(tmp_path))


def test_weights_that_are_not_finite_are_refused_by_name(model, path):
    weights = model.state_dict()
    weights["0.bias"] = torch.tensor([0.0, torch.nan, 1.0])
    with pytest.raises(CheckpointError, match=r"1 weights that are not finite \(0\.bias\)"):
        load_weights(model, weights, path)


def test_position_ids_of_older_encoders_are_dropped(model, path):
    extra = {"module.text_encoder.bert.embeddings.position_ids": torch.arange(5)}
    torch.save({"model": model.state_dict() | extra}, path)
    assert same_weights(load_checkpoint(path)["model"], model.state_dict())


def test_weights_are_loaded(model, path):
    wanted = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()
    load_weights(model, wanted, path)
    assert same_weights(model.state_dict(), wanted)


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda weights: weights.pop("0.bias"), "1 missing: 0.bias"),
        (lambda weights: weights.update(other=torch.zeros(1)), "1 unknown to the model: other"),
        (lambda weights: weights.update({"0.weight": torch.zeros(3, 5)}), r"0.weight \[3, 5\] instead of \[3, 2\]"),
    ],
    ids=["missing", "extra", "misshaped"],
)
def test_weights_that_do_not_fit_are_named(model, change, named):
    weights = dict(model.state_dict())
    before = {name: value.clone() for name, value in weights.items()}
    change(weights)
    with pytest.raises(CheckpointError, match=f"some.pth.*{named}"):
        load_weights(model, weights, "some.pth")
    assert same_weights(model.state_dict(), before)


class Malice:
    def __reduce__(self):
        return os.mkdir, (str(Malice.folder),)


def save_as_pickle(content, path):
    Path(path).write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [torch.save, save_as_pickle])
def test_code_in_a_file_is_refused_and_not_run(path, tmp_path, save):
    Malice.folder = tmp_path / "made by the file"
    save({"model": {"weight": torch.zeros(1)}, "epoch": Malice()}, path)
    with pytest.raises(CheckpointError, match="weights.pth"):
        load_checkpoint(path)
    assert not Malice.folder.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file_is_refused(model, path, share):
    torch.save({"model": model.state_dict()}, path)
    with open(path, "rb+") as file:
        file.truncate(int(os.path.getsize(path) * share))
    with pytest.raises(CheckpointError, match="weights.pth"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"model": {"weight": 3}}, {"weight": 3}, torch.zeros(2)])
def test_file_without_weights_is_refused(path, content):
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="weights.pth"):
        load_checkpoint(path)


def test_missing_file_is_named():
    with pytest.raises(CheckpointError, match="nowhere.pth does not exist"):
        load_checkpoint("nowhere.pth")


# ---- The folder of a run ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(str(tmp_path), "pool")


def test_files_have_the_released_names(folder, tmp_path):
    folder.save({"epoch": 12}, 12)
    assert (tmp_path / "pool_model_12e.pth").exists()


def test_last_is_the_one_saved_last(folder):
    for epoch in (8, 9, 10, 7):
        folder.save({"epoch": epoch}, epoch)
    assert folder.last_path() == folder.epoch_path(7)


def test_last_of_a_released_folder_is_the_highest_epoch(folder):
    for epoch in (2, 10, 9):
        torch.save({}, folder.epoch_path(epoch))
    assert folder.last_path() == folder.epoch_path(10)


def test_last_survives_a_deleted_file(folder):
    for epoch in (1, 2):
        folder.save({"epoch": epoch}, epoch)
    os.unlink(folder.epoch_path(2))
    assert folder.last_path() == folder.epoch_path(1)


def test_best_goes_before_last(folder):
    folder.save({"epoch": 1}, 1)
    assert folder.find() == folder.epoch_path(1)
    folder.save_best({"epoch": 1})
    assert folder.find() == folder.best_path


def test_empty_folder_has_no_last_and_finding_says_what_to_do(folder):
    assert folder.last_path() is None
    with pytest.raises(CheckpointError, match="train first, or give --ckpt"):
        folder.find()


def test_other_2d_maps_checkpoints_are_not_taken(folder):
    torch.save({}, folder.epoch_path(3).replace("pool", "conv"))
    assert folder.last_path() is None


@pytest.mark.parametrize("num_kept, kept", [(0, {1, 2, 10, 11}), (1, {11}), (2, {10, 11}), (9, {1, 2, 10, 11})])
def test_old_epoch_checkpoints_go_but_the_best_and_the_last_stay(tmp_path, num_kept, kept):
    folder = CheckpointFolder(str(tmp_path), "pool", num_kept)
    folder.save_best({"epoch": 1})
    for epoch in (1, 2, 10, 11):
        folder.save({"epoch": epoch}, epoch)
    folder.save_last({"epoch": 11})
    names = {path.name for path in tmp_path.glob("*.pth")}
    assert names == {"pool_model_best.pth", "pool_model_last.pth", *(f"pool_model_{epoch}e.pth" for epoch in kept)}
    assert folder.last_path().endswith("pool_model_last.pth")


def test_checkpoints_beyond_the_epoch_that_is_written_are_kept(tmp_path):
    folder = CheckpointFolder(str(tmp_path), "pool", num_kept=1)
    for epoch in (5, 2, 3):  # a run that went back to epoch 1
        folder.save({"epoch": epoch}, epoch)
    assert {path.name for path in tmp_path.glob("*e.pth")} == {"pool_model_3e.pth", "pool_model_5e.pth"}


def test_the_same_content_makes_the_same_file(folder):
    content = []
    for _ in range(2):
        folder.save_best({"weight": torch.ones(3)})
        content.append(Path(folder.best_path).read_bytes())
    assert content[0] == content[1]


def test_partial_loading_takes_what_fits_and_lists_the_rest(model, caplog, monkeypatch):
    monkeypatch.setattr(get_logger(), "propagate", True)
    weights = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(5), "other": torch.ones(1)}
    load_weights(model, weights, "some.pth", partial=True)
    assert torch.equal(model[0].weight, torch.ones(3, 2))
    assert "loaded 1 of 7 weights from some.pth" in caplog.text
    assert "1 unknown to the model: other" in caplog.text


def test_partial_loading_of_nothing_is_refused(model):
    with pytest.raises(CheckpointError, match="does not fit"):
        load_weights(model, {"other": torch.ones(1)}, "some.pth", partial=True)


def test_exported_weights_load_and_carry_config_and_revision(model, path, tmp_path):
    out = str(tmp_path / "weights.safetensors")
    torch.save({"model": model.state_dict(), "config": "SOLVER: {}", "git_revision": "abc", "epoch": 3}, path)
    export_weights(path, out)
    assert same_weights(load_checkpoint(out)["model"], model.state_dict())
    with safetensors.safe_open(out, "pt") as file:
        assert file.metadata() == {"format": "pt", "config": "SOLVER: {}", "git_revision": "abc", "epoch": "3"}


def test_what_describes_a_model_survives_the_export(model, path, tmp_path):
    facts = {
        "config": "SOLVER: {}",
        "train_durations": {"median": 40.5, "longest": 61.0},
        "feature_recipe": {"fps": 3.0},
    }
    out = str(tmp_path / "weights.safetensors")
    torch.save({"model": model.state_dict(), **facts}, path)
    export_weights(path, out)
    content = load_checkpoint(out)
    assert {name: content[name] for name in facts} == facts


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 100])
def test_damaged_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="weights.safetensors"):
        load_checkpoint(str(path))


def test_full_disk_keeps_the_last_checkpoint(folder):
    folder.save_last({"epoch": 1})
    mode = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, mode[1]))
    try:
        with pytest.raises(UserError, match="pool_model_last.pth cannot be written"):
            folder.save_last({"epoch": 2, "weight": torch.zeros(10**5)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, mode)
        signal.signal(signal.SIGXFSZ, handler)
    assert torch.load(folder.last_path(), weights_only=True) == {"epoch": 1}
    assert sorted(os.listdir(folder.folder)) == ["last_checkpoint", "pool_model_last.pth"]
