"""Resampling against loops over rows, and a feature file's errors."""

import os
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.data.features import FeatureFile, clip_boundaries, resample_clips
from mmn.structures.rows_id import SentenceRows
from mmn.utils.errors import DataError


def naive_boundaries(num_rows, num_clips):
    """Python's own round is half-even too."""
    positions = [np.float32(p) / np.float32(num_clips) * np.float32(num_rows) for p in range(num_clips + 1)]
    return [min(round(float(position)), num_rows - 1) for position in positions]


def naive_clips(rows, num_clips):
    rows = [row / np.linalg.norm(row) for row in rows.astype(np.float64)]
    boundaries = naive_boundaries(len(rows), num_clips)
    clips = []
    for first, stop in zip(boundaries, boundaries[1:], strict=False):
        clips.append(np.mean(rows[first:stop], axis=0) if first < stop else rows[first])
    return np.array(clips)


@given(st.integers(1, 700), st.integers(1, 300))
def test_boundaries_are_the_naive_ones(num_rows, num_clips):
    assert clip_boundaries(num_rows, num_clips).tolist() == naive_boundaries(num_rows, num_clips)


def test_boundaries_round_half_to_even():
    assert clip_boundaries(6, 4).tolist() == [0, 2, 3, 4, 5]  # 0, 1.5, 3, 4.5, 6


@given(st.integers(1, 120), st.integers(1, 64), st.integers(0, 1000))
def test_clips_are_the_naive_ones(num_rows, num_clips, seed):
    rows = np.random.default_rng(seed).standard_normal((num_rows, 5)).astype(np.float32)
    assert resample_clips(rows, num_clips) == pytest.approx(naive_clips(rows, num_clips), abs=2e-6)


@given(st.integers(1, 120), st.integers(1, 64))
def test_clips_are_float32_of_the_asked_number(num_rows, num_clips):
    clips = resample_clips(np.ones((num_rows, 3)), num_clips)
    assert clips.shape == (num_clips, 3)
    assert clips.dtype == np.float32


def test_scale_of_a_row_does_not_matter():
    rows = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
    scales = np.arange(1, 21, dtype=np.float32)[:, None]
    assert resample_clips(rows * scales, 8) == pytest.approx(resample_clips(rows, 8), abs=1e-6)


def test_zero_rows_stay_zero():
    assert not resample_clips(np.zeros((10, 3), dtype=np.float32), 4).any()


def test_last_row_is_used_only_where_the_last_range_is_empty():
    rows = np.eye(8, dtype=np.float32)
    assert not resample_clips(rows, 4)[:, -1].any()
    assert resample_clips(rows, 16)[-1, -1] == 1


def test_source_rows_are_left_alone():
    rows = np.full((10, 3), 2, dtype=np.float32)
    resample_clips(rows, 4)
    assert (rows == 2).all()


# ---- The feature file ------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "features.hdf5")
    with h5py.File(path, "w") as file:
        file["good"] = np.arange(12, dtype=np.float32).reshape(3, 4)
        file["half"] = np.ones((3, 4), dtype=np.float16)
        file["wide"] = np.ones((3, 5), dtype=np.float32)
        file["flat"] = np.ones(4, dtype=np.float32)
        file["empty"] = np.ones((0, 4), dtype=np.float32)
        file["whole"] = np.arange(12, dtype=np.int16).reshape(3, 4)
        file["truth"] = np.ones((3, 4), dtype=bool)
        file["text"] = np.full((3, 4), b"1.0")
        file["nan"] = np.full((3, 4), np.nan, dtype=np.float32)
        file["group/c3d_features"] = np.ones((3, 4), dtype=np.float32)
    return path


def test_rows_are_read(path):
    rows = FeatureFile(path, "{vid}", 4).read("good")
    assert rows.tolist() == np.arange(12).reshape(3, 4).tolist()
    assert rows.dtype == np.float32


def test_half_precision_rows_become_float32(path):
    assert FeatureFile(path, "{vid}", 4).read("half").dtype == np.float32


def test_rows_below_a_group_are_read(path):
    assert FeatureFile(path, "{vid}/c3d_features", 4).read("group").shape == (3, 4)


@pytest.mark.parametrize("video", ["wide", "flat", "empty", "truth", "text", "nan", "group", "absent"])
def test_rows_that_cannot_be_used_are_refused_with_video_and_file(path, video):
    with pytest.raises(DataError, match=f"video {video} of the feature file {path}"):
        FeatureFile(path, "{vid}", 4).read(video)


def test_whole_numbers_are_read_as_float32(path):
    rows = FeatureFile(path, "{vid}", 4).read("whole")
    assert rows.dtype == np.float32
    assert rows.tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize(
    "video, reason",
    [
        ("empty", "has shape [0, 4], that is, 0 rows"),
        ("flat", "has shape [4], that is, 1 dimensions"),
        ("truth", "type bool"),
        ("text", "type |S3"),
    ],
)
def test_rows_are_refused_for_the_true_reason(path, video, reason):
    with pytest.raises(DataError) as raised:
        FeatureFile(path, "{vid}", 4).read(video)
    assert reason in str(raised.value)
    assert "INPUT_SIZE" not in str(raised.value)


def test_wrong_width_names_the_config_key(path):
    with pytest.raises(DataError, match=r"\[3, 5\].*FEATPOOL.INPUT_SIZE"):
        FeatureFile(path, "{vid}", 4).read("wide")


def test_check_counts_and_names_missing_videos(path):
    with pytest.raises(DataError, match="lacks 2 of 3 videos: one, two"):
        FeatureFile(path, "{vid}", 4).check(["good", "one", "two"])


def test_check_refuses_another_width(path):
    with pytest.raises(DataError, match="INPUT_SIZE"):
        FeatureFile(path, "{vid}", 5).check(["good"])


def test_missing_file_names_the_way_out(tmp_path):
    with pytest.raises(DataError, match="does not exist.*`mmn simulate-features`"):
        FeatureFile(str(tmp_path / "none.hdf5"), "{vid}", 4).check(["good"])


@pytest.mark.parametrize(
    "names, feature_key, video_id, hint",
    [
        (["v_abc", "v_abcd"], "{vid}", "abc", "'v_abc' is there, that is, under 'v_{vid}'"),
        (["abc.avi"], "{vid}", "abc", "'abc.avi' is there, that is, under '{vid}.avi'"),
        (["c3d/abc"], "{vid}", "abc", "'c3d/abc' is there, that is, under 'c3d/{vid}'"),
        (["abc/c3d_features"], "{vid}", "abc", "under '{vid}/c3d_features'"),
        (["abc"], "{vid}/c3d_features", "abc", "'abc' is there, that is, under '{vid}'"),
        (["abc"], "{vid}", "v_abc", "'abc' is there"),
        (["abc"], "{vid}", "abc.avi", "'abc' is there"),
        (["ABC"], "{vid}", "abc", "'ABC' is there"),
        (["v_10", "v_11"], "{vid}", "1", "what it holds is 'v_10', 'v_11'"),
        ([], "{vid}", "abc", "it is empty"),
        (["abc/8"], "{vid}/{qid}", SentenceRows("abc", "7"), "'abc/8', of another sentence, is there"),
        (["abc_8", "abc_7"], "{vid}/{qid}", SentenceRows("abc", "7"), "'abc_7' is there, that is, under '{vid}_{qid}'"),
        (["abc_8", "abc_7"], "{vid}", SentenceRows("abc", "7"), "'abc_7' is there, that is, under '{vid}_{qid}'"),
        (["abc/7/rows", "abc/6"], "{vid}/{qid}", SentenceRows("abc", "7"), "'abc/6', of another sentence, is there"),
        (["abc"], "{vid}/{qid}", SentenceRows("abc", "7"), "'abc' is there, that is, under '{vid}'"),
    ],
)
def test_file_that_lacks_a_video_says_what_it_holds(tmp_path, names, feature_key, video_id, hint):
    path = str(tmp_path / "features.hdf5")
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = np.ones((3, 4), np.float32)
    for read in (FeatureFile.read, lambda features, video_id: features.check([video_id])):
        with pytest.raises(DataError) as raised:
            read(FeatureFile(path, feature_key, 4), video_id)
        assert hint in str(raised.value)


@pytest.mark.parametrize("stated, seconds", [(2.5, 2.5), (np.array([3], np.int64), 3.0), (None, None)])
def test_duration_of_a_video_is_read(path, stated, seconds):
    with h5py.File(path, "a") as file:
        if stated is not None:
            file["good"].attrs["duration"] = stated
    assert FeatureFile(path, "{vid}", 4).duration("good") == seconds


@pytest.mark.parametrize("stated", ["2.5", True, [2.5, 3.5], np.nan, np.inf, 0.0, -1])
def test_duration_that_is_none_is_refused(path, stated):
    with h5py.File(path, "a") as file:
        file["good"].attrs["duration"] = stated
    with pytest.raises(DataError, match="the attribute duration of video good of the feature file"):
        FeatureFile(path, "{vid}", 4, waits=()).duration("good")


def test_truncated_file_is_refused(path):
    with open(path, "rb+") as file:
        file.truncate(1500)
    with pytest.raises(DataError):
        FeatureFile(path, "{vid}", 4).check(["good", "half", "nan"])


def test_file_can_be_sent_to_another_process(path):
    features = FeatureFile(path, "{vid}", 4)
    features.read("good")
    assert pickle.loads(pickle.dumps(features)).read("good").shape == (3, 4)


class Flaky(FeatureFile):
    """Fails to open `num_errors` times, as a network file system may."""

    num_errors = 0

    def open(self):
        if self.num_errors:
            self.num_errors -= 1
            raise OSError("Stale file handle")
        return super().open()


def test_read_that_fails_is_tried_again(path):
    features = Flaky(path, "{vid}", 4, waits=(0.01, 0.01))
    features.num_errors = 2
    assert features.read("good").shape == (3, 4)


def test_read_that_fails_for_good_names_video_and_attempts(path):
    features = Flaky(path, "{vid}", 4, waits=(0.01, 0.01))
    features.num_errors = 3
    with pytest.raises(DataError, match="video good of the feature file .*Stale file handle.*3 attempts"):
        features.read("good")


def test_file_that_disappears_is_named(path):
    features = FeatureFile(path, "{vid}", 4, waits=(0.01,))
    features.check(["good"])
    os.unlink(path)
    with pytest.raises(DataError, match="the feature file .* does not exist"):
        features.read("good")
