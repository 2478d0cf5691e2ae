"""The clip cache that forked workers share."""

import json
import multiprocessing
import pickle

import numpy as np
import pytest

from mmn.data.cache import ClipFile, SharedClipCache
from mmn.data.moment_files import build_dataset
from mmn.data.splits import Splits
from mmn.data.tokenizer import build_tokenizer
from mmn.engine.data_files import cache_features
from mmn.utils.errors import DataError

VIDEO_BYTES = 4 * 3 * 2


def clips_of(video):
    return np.full((3, 2), video + 0.1, dtype=np.float32)


def make_cache(num_slots, num_videos=4):
    return SharedClipCache(num_videos, num_clips=3, input_size=2, budget=num_slots * VIDEO_BYTES)


def must_not_run():
    raise AssertionError("the clips should come from the cache")


def fill(cache, video):
    cache.get(video, lambda: clips_of(video))


def run_in_fork(function, *args):
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_clips_are_computed_once():
    cache = make_cache(4)
    fill(cache, 2)
    assert np.array_equal(cache.get(2, must_not_run), clips_of(2))


def test_what_comes_from_memory_is_what_was_computed_to_the_byte():
    cache = make_cache(4)
    clips = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    first = cache.get(0, lambda: clips).tobytes()
    assert first == cache.get(0, must_not_run).tobytes() == clips.tobytes()


def test_videos_do_not_share_a_slot():
    cache = make_cache(4)
    for video in range(4):
        fill(cache, video)
    assert [cache.get(video, must_not_run)[0, 0] for video in range(4)] == [clips_of(v)[0, 0] for v in range(4)]


def test_a_forked_worker_fills_the_cache_of_its_parent():
    cache = make_cache(4)
    run_in_fork(fill, cache, 1)
    assert np.array_equal(cache.get(1, must_not_run), clips_of(1))


def test_a_forked_worker_reads_what_another_one_filled():
    cache = make_cache(4)
    run_in_fork(fill, cache, 3)
    run_in_fork(lambda: cache.get(3, must_not_run))


def test_a_spawned_worker_gets_a_cache_of_its_own():
    cache = make_cache(4)
    fill(cache, 1)
    copy = pickle.loads(pickle.dumps(cache))
    assert np.array_equal(copy.get(1, must_not_run), clips_of(1))


@pytest.mark.parametrize("num_slots", [0, 1, 3])
def test_videos_beyond_the_budget_are_computed_every_time(num_slots):
    cache = make_cache(num_slots)
    calls = []
    for _ in range(2):
        for video in range(4):
            cache.get(video, lambda video=video: calls.append(video) or clips_of(video))
    assert len(calls) == num_slots + 2 * (4 - num_slots)


def test_the_store_is_no_larger_than_the_budget():
    cache = SharedClipCache(4, num_clips=3, input_size=2, budget=2.9 * VIDEO_BYTES)
    assert cache.clips.nbytes == 2 * VIDEO_BYTES


# ---- Files made beforehand -------------------------------------------------------------------------------------------

VIDEOS = ["a", "b", "c"]


@pytest.fixture
def clip_file(tmp_path):
    source = tmp_path / "features.hdf5"
    source.write_bytes(b"rows")
    file = ClipFile(str(tmp_path / "clips"), "train", [str(source)])
    file.write(VIDEOS, (clips_of(video) for video in range(3)), (3, 2), "float32")
    return file


def test_clip_file_gives_back_what_was_written(clip_file):
    clip_file.open(VIDEOS, (3, 2))
    for video in range(3):
        assert np.array_equal(clip_file.get(video, must_not_run), clips_of(video))


def test_clip_file_of_half_precision_gives_float32(clip_file):
    clip_file.write(VIDEOS, (clips_of(video) for video in range(3)), (3, 2), "float16")
    clip_file.open(VIDEOS, (3, 2))
    clips = clip_file.get(1, must_not_run)
    assert clips.dtype == np.float32
    assert np.allclose(clips, clips_of(1), atol=1e-3)


@pytest.mark.parametrize(("videos", "shape"), [(["a", "b"], (3, 2)), (["a", "c", "b"], (3, 2)), (VIDEOS, (4, 2))])
def test_clip_file_of_other_videos_or_shape_is_refused(clip_file, videos, shape):
    with pytest.raises(DataError, match="make it again by `mmn cache-features`"):
        clip_file.open(videos, shape)


def test_clip_file_of_another_feature_file_is_refused(clip_file):
    with open(clip_file.sources[0], "ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match="another state of"):
        clip_file.open(VIDEOS, (3, 2))


@pytest.fixture
def sources(tmp_path):
    """A folder with a subfolder for each of two videos, and links that lead round."""
    for name in ("a", "b"):
        (tmp_path / "features" / name).mkdir(parents=True)
        (tmp_path / "features" / name / "rows.npz").write_bytes(b"rows")
        (tmp_path / "features" / name / "back").symlink_to(tmp_path / "features")
    return tmp_path / "features"


def write_cache(folder, sources):
    file = ClipFile(str(folder / "clips"), "train", [str(sources)])
    file.write(VIDEOS, (clips_of(video) for video in range(3)), (3, 2), "float32")
    return file


def test_clip_file_of_another_file_in_a_subfolder_is_refused(tmp_path, sources):
    file = write_cache(tmp_path, sources)
    file.open(VIDEOS, (3, 2))
    (sources / "b" / "rows.npz").write_bytes(b"other rows")
    with pytest.raises(DataError, match="another state of"):
        file.open(VIDEOS, (3, 2))


def test_clip_file_of_an_earlier_version_which_did_not_look_into_subfolders_is_read(tmp_path, sources):
    file = write_cache(tmp_path, sources)
    index = json.loads((tmp_path / "clips" / "train.json").read_text())
    del index["with_subfolders"]
    (tmp_path / "clips" / "train.json").write_text(json.dumps({**index, "source": [0, 0]}))
    file.open(VIDEOS, (3, 2))


def test_missing_clip_file_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="DATALOADER.CACHE_DIR"):
        ClipFile(str(tmp_path), "train", ["nowhere"]).open(VIDEOS, (3, 2))


def test_dataset_reads_clips_made_by_the_tool(tiny_cfg, tmp_path):
    tokenizer = build_tokenizer(tiny_cfg)
    direct = build_dataset(tiny_cfg, Splits(tiny_cfg).find("synthetic_val"), tokenizer)
    tiny_cfg.DATALOADER.CACHE_DIR = str(tmp_path / "clips")
    cache_features(tiny_cfg)
    cached = build_dataset(tiny_cfg, Splits(tiny_cfg).find("synthetic_val"), tokenizer)
    for index in range(len(direct)):
        assert np.array_equal(cached.clips(index), direct.clips(index))
