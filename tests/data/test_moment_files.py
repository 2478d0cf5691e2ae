"""The files of a split looked at together: lengths by annotations and by features, and what `check_data` says."""

import json

import h5py
import numpy as np
import pytest
from tiny import DIM, tiny_config

from mmn.data.moment_files import build_dataset, split_problems
from mmn.data.splits import Note, Splits
from mmn.data.tokenizer import build_tokenizer
from mmn.utils.errors import DataError


@pytest.fixture
def split_of(dataset_root, tmp_path):
    """(config, split) of a video of 10 s by its annotations, whose features say `seconds` (None: nothing)."""

    def make(seconds):
        entry = {"duration": 10.0, "timestamps": [[1, 3], [4, 4], [5, 12]], "sentences": ["a", "b", "c"]}
        (tmp_path / "split.json").write_text(json.dumps({"v": entry}))
        with h5py.File(tmp_path / "features.hdf5", "w") as file:
            file["v"] = np.ones((5, DIM), np.float32)
            if seconds is not None:
                file["v"].attrs["duration"] = seconds
        annotation, features = tmp_path / "split.json", tmp_path / "features.hdf5"
        (tmp_path / "catalog.yaml").write_text(f"mine: {{annotation: {annotation}, features: {features}}}")
        cfg = tiny_config(dataset_root, tmp_path / "out", "PATHS_CATALOG", str(tmp_path / "catalog.yaml"))
        return cfg, Splits(cfg).find("mine")

    return make


@pytest.mark.parametrize("seconds", [None, 10.0, 5.5, 19.5])
def test_lengths_that_agree_roughly_are_those_of_one_video(split_of, seconds):
    cfg, split = split_of(seconds)
    assert len(build_dataset(cfg, split, build_tokenizer(cfg))) == 1


@pytest.mark.parametrize("seconds", [1.0, 5.0, 20.0, 100.0])
def test_another_length_by_the_features_is_refused_with_both(split_of, seconds):
    cfg, split = split_of(seconds)
    with pytest.raises(DataError, match=f"video v lasts 10 s by its annotations, but {seconds:g} s by"):
        build_dataset(cfg, split, build_tokenizer(cfg))
    assert any(f"but {seconds:g} s by" in problem for problem in split_problems(cfg, split))


def test_check_says_how_many_sentences_are_used_left_out_and_clamped(split_of):
    notes = list(split_problems(*split_of(10.0)))
    assert notes == ["2 sentences, 1 left out (1 start >= end), 1 clamped"]
    assert isinstance(notes[0], Note)
