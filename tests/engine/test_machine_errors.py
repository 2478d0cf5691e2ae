"""Failures of the machine, as sentences."""

import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmn.engine.machine_errors import machine_errors_explained
from mmn.utils.errors import UserError
from mmn.utils.preemption import spare_worker

ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: not enough")]


@pytest.mark.parametrize("key, remedy", [("SOLVER.BATCH_SIZE", "ACCUMULATE"), ("TEST.BATCH_SIZE", "BATCH_SIZE")])
@pytest.mark.parametrize("error", ERRORS)
def test_too_little_memory_names_batch_map_and_remedy(tiny_cfg, key, remedy, error):
    sentence = f"{key} 2 and a map of 16 x 16: lower.*{remedy}"
    with pytest.raises(UserError, match=sentence), machine_errors_explained(tiny_cfg, key):
        raise error


def test_other_errors_pass(tiny_cfg):
    with pytest.raises(RuntimeError, match="else"), machine_errors_explained(tiny_cfg, "TEST.BATCH_SIZE"):
        raise RuntimeError("something else")


class Deadly(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_loader_worker_is_a_sentence(tiny_cfg):
    sentence = "data loader worker was killed.*NUM_WORKERS"
    with pytest.raises(UserError, match=sentence), machine_errors_explained(tiny_cfg, "TEST.BATCH_SIZE"):
        list(DataLoader(Deadly(), num_workers=1, multiprocessing_context="fork"))


class Terminated(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGTERM)
        return index


def test_loader_worker_serves_on_after_a_signal_to_the_whole_job():
    loader = DataLoader(Terminated(), num_workers=1, multiprocessing_context="fork", worker_init_fn=spare_worker)
    assert torch.cat(list(loader)).tolist() == [0, 1, 2, 3]
