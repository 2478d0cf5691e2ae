"""Fixtures of the whole suite. Everything runs on the CPU, offline."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import processes
import pytest
import tiny
import torch
from hypothesis import settings

from mmn.apps.synthetic.options import SyntheticOptions, SyntheticStvgOptions
from mmn.apps.synthetic.seeded_glove import write_glove
from mmn.apps.synthetic.synthetic_moments import write_synthetic_dataset
from mmn.apps.synthetic.synthetic_tubes import write_synthetic_stvg

# Tiny tensors gain nothing from threads, and a busy machine makes them wait for each other.
torch.set_num_threads(1)
settings.register_profile("mmn", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("mmn")


def pytest_unconfigure():
    processes.stop_server()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory):
    """A DATASETS.ROOT with a tiny `synthetic` dataset of 5, 2 and 5 videos, its text encoder and word vectors."""
    root = tmp_path_factory.mktemp("dataset")
    options = SyntheticOptions(num_train=5, num_val=2, num_test=5, dim=tiny.DIM)
    write_synthetic_dataset(root / "synthetic", options, log=lambda line: None)
    splits = [str(root / "synthetic" / f"{split}.json") for split in ("train", "val", "test")]
    write_glove(str(root / "synthetic" / "glove.txt"), splits, tiny.DIM, seed=0)
    return root


@pytest.fixture(scope="session")
def stvg_root(tmp_path_factory):
    """A DATASETS.ROOT with a tiny `synthetic_stvg` dataset of 5, 2 and 5 videos and its text encoder."""
    root = tmp_path_factory.mktemp("stvg")
    options = SyntheticStvgOptions(num_train=5, num_val=2, num_test=5, dim=tiny.DIM)
    write_synthetic_stvg(root / "synthetic_stvg", options, log=lambda line: None)
    return root


@pytest.fixture
def stvg_cfg(stvg_root, tmp_path):
    cfg = tiny.tiny_config(stvg_root, tmp_path / "output", config=tiny.STVG_CONFIG)
    cfg.defrost()
    return cfg


@pytest.fixture
def tiny_cfg(dataset_root, tmp_path):
    cfg = tiny.tiny_config(dataset_root, tmp_path / "output")
    cfg.defrost()
    return cfg
