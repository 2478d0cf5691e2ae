"""What a training begins with, and what its folder says of it afterwards."""

import pytest
import torch

from mmn.engine.starting_point import StartingPoint, find_starting_point
from mmn.utils.checkpoint import CheckpointFolder

RESUME, REWIND = {"RESUME": True}, {"RESUME": True, "RESUME_EPOCH": 3}


@pytest.fixture
def folder(tiny_cfg, tmp_path):
    """The folder of a run whose last checkpoint is that of epoch 4."""
    (tmp_path / "output").mkdir()
    folder = CheckpointFolder(tiny_cfg.OUTPUT_DIR, "pool")
    for epoch in (2, 3, 4):
        folder.save({"epoch": epoch}, epoch)
    return folder


def find(cfg, monkeypatch, restart, options):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restart))
    for key, value in options.items():
        cfg.SOLVER[key] = value
    return find_starting_point(cfg)


@pytest.mark.parametrize(
    "restart, options, epoch, last",
    [
        (0, {}, None, None),
        (0, {"RESUME_EPOCH": 3}, None, None),
        (0, RESUME, 4, 4),
        (0, REWIND, 2, 2),
        (1, {}, 4, 4),
        (1, RESUME, 4, 4),
        (1, REWIND, 4, 4),  # the first attempt has gone back already
    ],
)
def test_run_begins_with_the_checkpoint_that_is_asked_for(tiny_cfg, folder, monkeypatch, restart, options, epoch, last):
    start = find(tiny_cfg, monkeypatch, restart, options)
    assert start == StartingPoint(epoch and folder.epoch_path(epoch), resumes=epoch is not None)
    assert folder.last_path() == (last and folder.epoch_path(last))


@pytest.mark.parametrize("restart, options", [(0, {}), (0, RESUME), (1, {}), (1, REWIND)])
def test_without_a_checkpoint_the_initial_weights_begin_a_new_run(tiny_cfg, monkeypatch, tmp_path, restart, options):
    (tmp_path / "output").mkdir()
    assert find(tiny_cfg, monkeypatch, restart, options) == StartingPoint(None, resumes=False)
    tiny_cfg.SOLVER.INIT_WEIGHTS = "weights.pth"
    assert find(tiny_cfg, monkeypatch, restart, options) == StartingPoint("weights.pth", resumes=False)


def test_best_checkpoint_of_an_earlier_run_is_set_aside(tiny_cfg, folder, monkeypatch, tmp_path):
    torch.save({}, folder.best_path)
    find(tiny_cfg, monkeypatch, 0, {})
    assert (tmp_path / "output" / "pool_model_best_previous.pth").exists()
