"""The split of HC-STVG as a dataset: samples, batches, files that do not fit each other."""

import h5py
import naive_tubes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mmn.apps.benchmark.tubes import plain_iou_map
from mmn.config.catalog_entries import Track, TubeEntry
from mmn.config.paths_catalog import load_catalog
from mmn.data.feature_tracks import FeatureTracks
from mmn.data.features import FeatureFile, resample_clips
from mmn.data.splits import Splits
from mmn.data.tokenizer import build_tokenizer
from mmn.data.tube_annotations import TubeFile, read_tube_annotations, write_entries, write_tables
from mmn.data.tube_dataset import TubeFeatures
from mmn.engine.data_files import check_data
from mmn.engine.tasks import find_task
from mmn.structures.tubes import Tubes
from mmn.utils.errors import ConfigError, DataError, UserError

SPLIT = "synthetic_stvg_val"


@pytest.fixture
def task(stvg_cfg):
    return find_task(stvg_cfg)


@pytest.fixture
def dataset(stvg_cfg, task):
    return task.build_dataset(stvg_cfg, Splits(stvg_cfg).find(SPLIT), build_tokenizer(stvg_cfg))


def naive_resampling(rows, num_clips):
    """SPEC section 8, clip by clip: the boundaries are not clamped, and an empty range at the end takes the last row."""
    rows = [row / max(np.sqrt((row.astype(np.float64) ** 2).sum()), 1e-12) for row in rows]
    bounds = [int(np.rint(np.float32(p) / np.float32(num_clips) * np.float32(len(rows)))) for p in range(num_clips + 1)]
    clips = []
    for start, stop in zip(bounds, bounds[1:], strict=False):
        clips.append(np.mean(rows[start:stop], axis=0) if start < stop else rows[min(start, len(rows) - 1)])
    return np.array(clips)


@given(st.integers(1, 60), st.sampled_from([1, 3, 8, 32]), st.integers(0, 2**32 - 1))
def test_tubes_are_resampled_as_clip_by_clip(length, num_clips, seed):
    rows = np.random.default_rng(seed).standard_normal((length, 3)).astype(np.float32)
    measured = resample_clips(rows, num_clips, uses_last_row=True)
    assert np.abs(measured - naive_resampling(rows, num_clips)).max() <= 1e-6


def test_tracks_are_resampled_each_on_its_own():
    rng = np.random.default_rng(0)
    tracks = [rng.standard_normal((5, 3)).astype(np.float32), 100 * rng.standard_normal((5, 2)).astype(np.float32)]
    measured = resample_clips(np.concatenate(tracks, axis=1), 4, uses_last_row=True, widths=[3, 2])
    for part, rows in zip(np.split(measured, [3], axis=1), tracks, strict=True):
        assert np.abs(part - naive_resampling(rows, 4)).max() <= 1e-6


def test_sample_holds_the_features_of_each_tube(dataset, stvg_root):
    sample, tubes = dataset[1], dataset.tubes[1]
    with h5py.File(stvg_root / "synthetic_stvg" / "val_motion.hdf5") as file:
        rows = file[sample.video_id][()]
    stops = np.cumsum(tubes.lengths.numpy())
    for number, own in enumerate(np.split(rows, stops[:-1])):
        assert np.abs(sample.clips[number][:, 8:] - naive_resampling(own, 32)).max() <= 1e-6


def test_sample_holds_the_iou_maps_of_walking_along_the_frames(dataset):
    sample, truth = dataset[0], naive_tubes.frames_of(dataset.videos[0].truth, 0)
    for number, packed in enumerate(sample.ious):
        naive = plain_iou_map(naive_tubes.frames_of(dataset.tubes[0], number), truth, 16)
        assert_close(dataset.cells.to_map(packed), naive.float(), rtol=0, atol=1e-6)


def test_batch_has_the_tubes_of_all_videos(dataset, stvg_cfg, task):
    samples = [dataset[0], dataset[1]]
    batch = task.build_collator(stvg_cfg, build_tokenizer(stvg_cfg))(samples)
    counts = [len(sample.lengths) for sample in samples]
    assert batch.tubes.counts == tuple(counts)
    assert len(batch.feats) == len(batch.ious) == len(batch.lengths) == sum(counts)
    assert torch.equal(batch.feats[counts[0] :], torch.from_numpy(samples[1].clips))
    for row, sample in zip(batch.token_rows, samples, strict=True):
        assert batch.tokens[row][batch.token_mask[row].bool()].tolist() == sample.tokens.tolist()


# ---- Files that do not fit -------------------------------------------------------------------------------------------


def split_of(folder, rows=3, annotation=None):
    """A TubeEntry's files for one video with a tube of 3 frames."""
    table = np.array([[0, frame, 0, 0, 1, 1] for frame in range(3)], dtype=np.float32)
    write_tables(f"{folder}/tubes.hdf5", [("a", table)])
    write_tables(f"{folder}/track.hdf5", [("a", np.ones((rows, 2), np.float32))])
    write_entries(f"{folder}/split.json", {"a": annotation or {"sentence": "a person walks"}})
    tracks = FeatureTracks([FeatureFile(f"{folder}/track.hdf5", "{vid}", 2)])
    return TubeFeatures(TubeFile(f"{folder}/tubes.hdf5", "{vid}"), tracks)


def test_features_for_other_boxes_are_refused(tmp_path):
    features = split_of(tmp_path, rows=4)
    with pytest.raises(
        DataError, match="video a of the feature file .*track.hdf5 has 4 rows, but its tubes have 3 boxes"
    ):
        features.read("a", features.tubes.read_tubes("a"))


def test_video_without_tubes_in_the_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"tubes.hdf5 lacks 1 of 2 videos: b"):
        split_of(tmp_path).check(["a", "b"])


def test_split_without_truth_says_so(tmp_path):
    split_of(tmp_path)
    (annotation,) = read_tube_annotations(f"{tmp_path}/split.json")
    assert annotation.truth is None


def test_all_problems_are_listed_at_once(stvg_cfg, tmp_path, capsys):
    split_of(tmp_path, rows=4, annotation={"sentence": ""})
    (tmp_path / "catalog.yaml").write_text("mine: {annotation: split.json, tubes: tubes.hdf5, tracks: [track.hdf5]}")
    stvg_cfg.merge_from_list(["PATHS_CATALOG", str(tmp_path / "catalog.yaml"), "DATASETS.ROOT", str(tmp_path)])
    stvg_cfg.merge_from_list(["DATASETS.TRAIN", ("mine",), "DATASETS.VAL", (), "DATASETS.TEST", ("mine",)])
    stvg_cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE = [2]
    with pytest.raises(UserError, match="2 problems"):
        check_data(stvg_cfg)
    output = capsys.readouterr().out
    assert "'sentence'" in output
    assert "has 4 rows" in output


# ---- Catalog entries of one's own --------------------------------------------------------------------------------------


def test_catalog_file_can_have_tubes(tmp_path):
    path = tmp_path / "catalog.yaml"
    path.write_text("mine: {annotation: a.json, tubes: t.hdf5, tracks: [x.hdf5, y.hdf5], thresholds: [0.5]}")
    assert load_catalog(str(path))["mine"] == TubeEntry(
        "a.json", "t.hdf5", (Track(path="x.hdf5"), Track(path="y.hdf5")), thresholds=(0.5,)
    )


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ("{annotation: a.json, tubes: t.hdf5}", "'tracks'"),
        ("{annotation: a.json, tubes: t.hdf5, tracks: x.hdf5}", "'tracks'"),
        ("{annotation: a.json, tubes: t.hdf5, tracks: []}", "'tracks'"),
        ("{annotation: a.json, tubes: 3, tracks: [x.hdf5]}", "'tubes'"),
        ("{annotation: a.json, tubes: t.hdf5, tracks: [x.hdf5], time_unit: frames}", "unknown key 'time_unit'"),
    ],
)
def test_catalog_entry_of_tubes_is_refused(tmp_path, entry, named):
    path = tmp_path / "catalog.yaml"
    path.write_text(f"mine: {entry}")
    with pytest.raises(ConfigError, match=named):
        load_catalog(str(path))


def test_tubes_of_a_video_keep_their_order(dataset):
    whole = dataset.tubes[0]
    assert isinstance(whole, Tubes)
    assert dataset.first_tube.tolist() == [0, len(whole.lengths), len(whole.lengths) + len(dataset.tubes[1].lengths)]
