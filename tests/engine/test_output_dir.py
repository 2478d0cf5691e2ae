"""Which folders a run accepts."""

import os

import pytest
import torch
from tiny import run_python, tiny_config

from mmn.engine.output_dir import prepare_output_dir
from mmn.utils.errors import UserError
from mmn.utils.files import FolderLock, atomic_path, remove_leftovers


@pytest.fixture
def used(dataset_root, tmp_path):
    """Makes the config for a folder that has a checkpoint of a config without options."""
    prepare_output_dir(tiny_config(dataset_root, tmp_path / "run"))
    torch.save({}, tmp_path / "run" / "pool_model_1e.pth")
    return lambda *options: tiny_config(dataset_root, tmp_path / "run", *options)


def test_another_config_is_refused_with_its_keys(used):
    cfg = used("SOLVER.LR", "0.5", "MODEL.MMN.FEAT2D.NAME", "conv")
    with pytest.raises(UserError, match="2 keys differ: .*NAME 'pool', now 'conv', SOLVER.LR 0.002, now 0.5"):
        prepare_output_dir(cfg)


def test_keys_that_do_not_make_another_run_may_change(used):
    options = [
        "SOLVER.MAX_EPOCH",
        "9",
        "DATALOADER.NUM_WORKERS",
        "3",
        "SOLVER.RESUME",
        "True",
        "SOLVER.ACCUMULATE",
        "2",
    ]
    prepare_output_dir(used(*options))


def test_folder_without_checkpoints_belongs_to_nobody(used, tmp_path):
    (tmp_path / "run" / "pool_model_1e.pth").unlink()
    prepare_output_dir(used("SOLVER.LR", "0.5"))


def test_folder_of_a_running_process_is_refused(tmp_path):
    lock = FolderLock(str(tmp_path))
    code = f"from mmn.utils.files import FolderLock; FolderLock({str(tmp_path)!r}, patience=0)"
    done = run_python("-c", code)
    assert "another run is writing to" in done.stderr
    lock.file.close()
    assert run_python("-c", code).returncode == 0


def test_leftovers_of_killed_writers_are_deleted_and_nothing_else(tmp_path):
    for name in (".pool_model_last.pth.mmn-x1y2_z3a.tmp", ".notes.tmp", ".pool_model_last.pth.x1y2z3ab.tmp", ".kept"):
        (tmp_path / name).write_text("")
    (tmp_path / ".a.mmn-00000000.tmp").mkdir()
    remove_leftovers(str(tmp_path))
    kept = {".notes.tmp", ".pool_model_last.pth.x1y2z3ab.tmp", ".kept", ".a.mmn-00000000.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_leftovers_of_one_file_are_those_that_a_killed_writer_leaves(tmp_path):
    for name in ("a", "b"):
        with atomic_path(str(tmp_path / name)) as temporary:
            os.link(temporary, tmp_path / "kept")
            leftover = os.path.basename(temporary)
        os.replace(tmp_path / "kept", tmp_path / leftover)
    remove_leftovers(str(tmp_path), "a")
    assert sum(path.name.startswith(".a.") for path in tmp_path.iterdir()) == 0
    assert sum(path.name.startswith(".b.") for path in tmp_path.iterdir()) == 1
