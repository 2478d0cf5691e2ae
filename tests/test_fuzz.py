"""Whatever is read from a user ends in a result or in a UserError, never in another exception."""

import contextlib
import json
import math

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny import SYNTHETIC_CONFIG

from mmn.config import load_config, validate
from mmn.config.load import config_keys
from mmn.data.annotations import read_annotations
from mmn.data.features import FeatureFile, resample_clips
from mmn.structures.moments import nms
from mmn.utils.errors import UserError

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
TIMES = st.lists(st.lists(st.floats() | st.integers(), min_size=1, max_size=3) | ANYTHING, max_size=3)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "duration": st.floats() | st.integers() | ANYTHING,
        "fps": st.floats() | st.integers(),
        "num_frames": st.integers() | st.floats(),
        "timestamps": TIMES | ANYTHING,
        "sentences": st.lists(st.text(max_size=5) | PLAIN, max_size=3) | ANYTHING,
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def assert_annotations_are_read_or_refused(path, unit):
    try:
        videos = read_annotations(str(path), unit)
    except UserError:
        return
    for video in videos:
        assert 0 < video.duration < math.inf
        assert video.moments.shape == (len(video.sentences), 2)
        assert np.isfinite(video.moments).all()


@given(st.dictionaries(st.text(max_size=4), ENTRY, max_size=3) | ANYTHING, st.sampled_from(["seconds", "frames"]))
@example({"a": {"duration": 1e300, "timestamps": [[0, 1e299]], "sentences": ["x"]}}, "seconds")
@example({"a": {"fps": 5e-324, "num_frames": 3, "timestamps": [[0, 1]], "sentences": ["x"]}}, "frames")
@example({"a": {"fps": 3, "num_frames": 10**400, "timestamps": [[0, 1]], "sentences": ["x"]}}, "frames")
def test_annotations_are_read_or_refused(folder, content, unit):
    path = folder / "split.json"
    path.write_text(json.dumps(content))
    assert_annotations_are_read_or_refused(path, unit)


@given(st.binary(max_size=60))
def test_bytes_as_annotations_are_refused(folder, content):
    path = folder / "bytes.json"
    path.write_bytes(content)
    assert_annotations_are_read_or_refused(path, "seconds")


DTYPES = st.sampled_from(["f2", "f4", "f8", ">f4", "i4", "u1", "?", "c8", "S3"])


@given(arrays.arrays(DTYPES, st.lists(st.integers(0, 4), max_size=3).map(tuple)))
def test_features_are_read_or_refused(folder, content):
    path = folder / "features.hdf5"
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        file["video"] = content
    try:
        rows = FeatureFile(str(path), "{vid}", 4, waits=()).read("video")
    except UserError:
        return
    clips = resample_clips(rows, 3)
    assert clips.shape == (3, 4)
    assert np.isfinite(clips).all()


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_damaged_feature_file_is_read_or_refused(folder, damage, position):
    path = folder / "damaged.hdf5"
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        file["video"] = np.ones((3, 4), np.float32)
    with open(path, "rb+") as file:
        file.seek(position)
        file.write(damage)
    with contextlib.suppress(UserError):
        FeatureFile(str(path), "{vid}", 4, waits=()).check(["video"])


VALUES = PLAIN.map(str) | st.sampled_from(["(1,", "{[]: 1}", "((" * 200, "10**9", "1e999", "nan", "[]", "(-1,)", "''"])


@given(st.sampled_from(config_keys()), VALUES)
def test_option_is_taken_or_refused(key, value):
    with contextlib.suppress(UserError):
        validate(load_config(SYNTHETIC_CONFIG, [key, value]))


@given(st.dictionaries(st.sampled_from(["SOLVER", "MODEL", "INPUT", "_BASE_", "X"]) | PLAIN, ANYTHING, max_size=3))
def test_config_file_is_taken_or_refused(folder, content):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", errors="replace")
    with contextlib.suppress(UserError):
        validate(load_config(str(path)))


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")))
@example(b"a: 2024-13-45")
@example(b"[" * 5000)
@example(b"a: &x [*x]")
@example(b"SOLVER: &x {LR: *x}")
@example(b'_BASE_: "a\\0b"')
@example(b'_BASE_: "\\ud800"')
@example(b"_BASE_: ..")
def test_bytes_as_config_are_taken_or_refused(folder, content):
    path = folder / "bytes.yaml"
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        validate(load_config(str(path)))


BOUNDS = st.floats(0, 1e6, width=32)


@given(st.lists(st.tuples(BOUNDS, BOUNDS, st.floats(0, 1, width=32)), min_size=1, max_size=12), st.floats(0, 1))
def test_kept_moments_are_ranked_and_apart(candidates, threshold):
    moments = torch.tensor([[min(pair), max(pair)] for *pair, _ in candidates])[None]
    scores = torch.tensor([[score for *_, score in candidates]])
    kept, kept_scores = nms(moments, scores, threshold, len(candidates))
    assert torch.isfinite(kept).all()
    assert (kept_scores[0, :-1] >= kept_scores[0, 1:]).all()
    known = {tuple(moment) for moment in moments[0].tolist()} | {(0.0, 0.0)}
    assert all(tuple(moment) in known for moment in kept[0].tolist())
