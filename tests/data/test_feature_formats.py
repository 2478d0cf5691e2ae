"""Feature tracks in every format that is read: the same rows, and what each kind of bad file ends in."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from feature_files import FORMATS, track_of, video_file, write_features
from tiny import tiny_config

from mmn.config import override_config
from mmn.data.feature_tracks import FeatureTracks, build_reader
from mmn.data.features import resample_clips
from mmn.data.moment_files import build_dataset
from mmn.data.splits import Splits
from mmn.data.tokenizer import build_tokenizer
from mmn.engine.data_files import cache_features, check_data
from mmn.structures.rows_id import SentenceRows
from mmn.utils.errors import DataError, UserError

ROWS = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
GOOD = {"a": ROWS, "b": ROWS[:3]}
FOLDERS = [kind for kind in FORMATS if kind != "hdf5"]


def reader(kind, folder, width=4, vid_suffix="", **fields):
    made = build_reader(track_of(kind, folder, **fields), width, vid_suffix)
    made.waits = ()
    return made


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_are_the_written_ones_in_float32(tmp_path, kind, dtype):
    write_features(kind, tmp_path, {"a": ROWS.astype(dtype)})
    rows = reader(kind, tmp_path).read("a")
    assert rows.dtype == np.float32
    assert np.array_equal(rows, ROWS.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("kind", FORMATS)
def test_selection_and_suffix_find_the_rows(tmp_path, kind):
    array = np.random.default_rng(1).standard_normal((7, 3, 5, 4)).astype(np.float16)
    write_features(kind, tmp_path, {"a-cam-002": array})
    rows = reader(kind, tmp_path, vid_suffix="-cam-002", selection="[:, -1, 0, :]").read("a")
    assert np.array_equal(rows, array[:, -1, 0, :].astype(np.float32))


def test_bfloat16_tensor_is_read(tmp_path):
    torch.save(torch.from_numpy(ROWS).bfloat16(), tmp_path / "a.pt")
    assert np.allclose(reader("pt", tmp_path, key="").read("a"), ROWS, rtol=1e-2)


# Kind -> (the array of video a, its reader's options, what the sentence must contain)
BAD = {
    "another width": (np.ones((3, 5), np.float32), {}, r"shape \[3, 5\].*INPUT_SIZE"),
    "no row": (np.ones((0, 4), np.float32), {}, "0 rows"),
    "three dimensions": (np.ones((3, 2, 4), np.float32), {}, "3 dimensions.*selection in the catalog entry"),
    "one dimension after selection": (ROWS, {"selection": "[0]"}, r"shape \[4\]"),
    "too few dimensions": (ROWS, {"selection": "[:, 0, 0]"}, "does not fit the selection"),
    "a NaN": (np.where(np.eye(7, 4) > 0, np.nan, ROWS), {}, "not finite numbers"),
    "an infinite value": (np.where(np.eye(7, 4) > 0, np.inf, ROWS), {}, "not finite numbers"),
    "objects": (np.full((3, 4), "text", object), {}, "numbers|tensors"),
}


def assert_is_a_sentence(error, kind, folder):
    assert f"video a of the feature file {video_file(kind, folder, 'a')}" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(folder))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("bad", BAD)
def test_bad_array_is_refused_with_video_and_file(tmp_path, kind, bad):
    array, options, named = BAD[bad]
    write_features(kind, tmp_path, {"a": array})
    with pytest.raises(DataError, match=named) as error:
        reader(kind, tmp_path, **options).check(["a"])
    assert_is_a_sentence(error, kind, tmp_path)


@pytest.mark.parametrize("kind", ["hdf5", "npz", "pt"])
def test_wrong_key_shows_those_that_there_are(tmp_path, kind):
    write_features(kind, tmp_path, {"a": ROWS})
    with pytest.raises(DataError, match=r"'(a/)?colours'.*(there are features|'a/rows' is there)") as error:
        reader(kind, tmp_path, key="{vid}/colours" if kind == "hdf5" else "colours").read("a")
    assert_is_a_sentence(error, kind, tmp_path)


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.95])
def test_truncated_file_is_refused(tmp_path, kind, share):
    write_features(kind, tmp_path, {"a": ROWS})
    path = video_file(kind, tmp_path, "a")
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(DataError) as error:
        reader(kind, tmp_path).read("a")
    assert_is_a_sentence(error, kind, tmp_path)


def torch_save(path, content):
    torch.save(content, path)


class Harmful:
    """A pickle that would leave a mark when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("save", [lambda path, content: path.write_bytes(pickle.dumps(content)), torch_save])
def test_file_of_python_objects_is_refused_and_not_run(tmp_path, kind, save):
    save(video_file(kind, tmp_path, "a"), Harmful(str(tmp_path / "mark")))
    with pytest.raises(DataError) as error:
        reader(kind, tmp_path).read("a")
    assert_is_a_sentence(error, kind, tmp_path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(("kind", "other"), [("npz", "npy"), ("npy", "npz"), ("pt", "npz"), ("npz", "pt")])
def test_file_of_another_format_is_refused(tmp_path, kind, other):
    write_features(other, tmp_path, {"a": ROWS})
    video_file(other, tmp_path, "a").rename(video_file(kind, tmp_path, "a"))
    with pytest.raises(DataError) as error:
        reader(kind, tmp_path).read("a")
    assert_is_a_sentence(error, kind, tmp_path)


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_videos_are_counted_and_the_first_ten_named(tmp_path, kind):
    write_features(kind, tmp_path, {"a": ROWS})
    with pytest.raises(DataError, match=r"lacks 12 of 13 videos: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.;"):
        reader(kind, tmp_path).check([*map(str, range(12)), "a"])


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_of_a_sentence_are_found_by_both_ids_and_missed_by_their_place(tmp_path, kind):
    write_features(kind, tmp_path, {"a-cam_7": ROWS})
    place, end = ("key", "/rows") if kind == "hdf5" else ("file", f".{kind}")
    made = reader(kind, tmp_path, vid_suffix="-cam", **{place: f"{{vid}}_{{qid}}{end}"})
    assert np.array_equal(made.read(SentenceRows("a", "7")), ROWS)
    with pytest.raises(DataError, match=f"lacks 2 of 3 videos: a-cam_8{end}, b-cam_9{end};"):
        made.check([SentenceRows(*ids) for ids in ("a7", "a8", "b9")])


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_place_names_the_way_out(tmp_path, kind):
    with pytest.raises(DataError, match=f"{tmp_path}/none.* does not exist.*simulate-features"):
        reader(kind, tmp_path / "none").check(["a"])


# ---- Joined ------------------------------------------------------------------------------------------------------------


def test_tracks_are_cut_to_the_shortest_and_resampled_each_on_its_own(tmp_path):
    first, second = ROWS, 100 * ROWS[:5, :3] + 1
    write_features("npz", tmp_path / "first", {"a": first})
    write_features("pt", tmp_path / "second", {"a": second})
    tracks = FeatureTracks([reader("npz", tmp_path / "first"), reader("pt", tmp_path / "second", 3)])
    clips = tracks.clips("a", 4)
    assert np.array_equal(clips[:, :4], resample_clips(first[:5], 4))
    assert np.array_equal(clips[:, 4:], resample_clips(second, 4))


def test_tracks_of_different_sampling_are_refused(tmp_path):
    write_features("npy", tmp_path / "first", {"a": np.ones((30, 4), np.float32)})
    write_features("npy", tmp_path / "second", {"a": np.ones((15, 4), np.float32)})
    with pytest.raises(DataError, match="video a have 30 in .*first and 15 in .*second rows"):
        FeatureTracks([reader("npy", tmp_path / name) for name in ("first", "second")]).read("a")


# ---- Through check_data, and the clip cache ------------------------------------------------------------------------------


@pytest.fixture
def make_config(dataset_root, tmp_path):
    """A config whose split `mine` has features of one format, with some files replaced."""

    def make(kind, videos, **options):
        folder = tmp_path / kind
        write_features(kind, folder, videos)
        entry = {"duration": 7.0, "timestamps": [[1, 2]], "sentences": ["a person walks"]}
        (tmp_path / "mine.json").write_text(json.dumps(dict.fromkeys(videos, entry) | {"gone": entry}))
        track = {key: value for key, value in vars(track_of(kind, kind)).items() if value}
        entry = {"annotation": "mine.json", "tracks": [track], **options}
        (tmp_path / "catalog.yaml").write_text(json.dumps({"mine": entry}))
        overrides = {
            "PATHS_CATALOG": tmp_path / "catalog.yaml",
            "DATASETS.ROOT": tmp_path,
            "MODEL.MMN.FEATPOOL.INPUT_SIZE": 4,
            **{f"DATASETS.{key}": "('mine',)" for key in ("TRAIN", "VAL", "TEST")},
        }
        return tiny_config(dataset_root, tmp_path / "out", *(str(part) for pair in overrides.items() for part in pair))

    return make


@pytest.mark.parametrize("kind", FORMATS)
def test_check_data_lists_every_bad_video(make_config, capsys, kind):
    with pytest.raises(UserError, match="3 problems"):
        check_data(make_config(kind, {"good": ROWS, "wide": ROWS[:, :2], "nan": np.full((7, 4), np.nan, np.float32)}))
    output = capsys.readouterr().out
    assert [line.split()[2] for line in output.splitlines() if ": video " in line] == ["wide", "nan", "gone"]


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_that_cover_another_time_than_the_video_are_listed(make_config, capsys, kind):
    with pytest.raises(UserError, match="2 problems"):
        check_data(make_config(kind, {"good": ROWS[:4], "long": ROWS}, clip_seconds=2))
    assert "video long of" in capsys.readouterr().out


@pytest.mark.parametrize("kind", FORMATS)
def test_clip_cache_is_made_from_any_format_and_tells_a_change(make_config, tmp_path, kind):
    cfg = make_config(kind, GOOD)
    write_features(kind, tmp_path / kind, {"gone": ROWS})
    plain = build_dataset(cfg, Splits(cfg).find("mine"), build_tokenizer(cfg))
    cfg = override_config(cfg, ["DATALOADER.CACHE_DIR", str(tmp_path / "clips")])
    cache_features(cfg)
    cached = build_dataset(cfg, Splits(cfg).find("mine"), build_tokenizer(cfg))
    assert all(np.array_equal(plain.clips(number), cached.clips(number)) for number in range(3))
    os.utime(video_file(kind, tmp_path / kind, "a"), (1, 2**32))
    with pytest.raises(DataError, match="made from another state"):
        build_dataset(cfg, Splits(cfg).find("mine"), build_tokenizer(cfg))
