"""The dataset catalog and entries of a user's own."""

import pytest

from mmn.config.catalog_entries import Track, track_names
from mmn.config.paths_catalog import CATALOG, get_entry, load_catalog
from mmn.utils.errors import ConfigError

MINE = """
my_train:
  annotation: mine/train.json
  features: mine/features.hdf5
my_test:
  annotation: mine/test.json
  features: mine/features.hdf5
  feature_key: "{vid}/c3d"
  time_unit: frames
  thresholds: [0.5, 1]
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="catalog.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file


@pytest.mark.parametrize(
    "split, annotation, features, key, unit, thresholds",
    [
        ("tacos_val", "TACoS/val.json", "TACoS/tall_c3d_features.hdf5", "{vid}", "frames", (0.1, 0.3, 0.5)),
        (
            "activitynet_train",
            "ActivityNet/train.json",
            "ActivityNet/sub_activitynet_v1-3.c3d.hdf5",
            "{vid}/c3d_features",
            "seconds",
            (0.3, 0.5, 0.7),
        ),
        (
            "charades_test",
            "Charades_STA/charades_test.json",
            "Charades_STA/vgg_rgb_features.hdf5",
            "{vid}",
            "seconds",
            (0.5, 0.7),
        ),
    ],
)
def test_released_split(split, annotation, features, key, unit, thresholds):
    entry = CATALOG[split]
    assert (entry.annotation, entry.tracks) == (annotation, (Track(path=features, key=key),))
    assert (entry.time_unit, entry.thresholds) == (unit, thresholds)


def test_all_released_splits_are_there():
    splits = [f"{name}_{split}" for name in ("tacos", "activitynet") for split in ("train", "val", "test")]
    assert CATALOG.keys() >= {*splits, "charades_train", "charades_test"}


def test_own_entries_join_those_of_the_package(write):
    catalog = load_catalog(write(MINE))
    assert catalog.keys() == CATALOG.keys() | {"my_train", "my_test"}
    assert catalog["my_test"].tracks == (Track(path="mine/features.hdf5", key="{vid}/c3d"),)
    assert catalog["my_test"].time_unit == "frames"
    assert catalog["my_test"].thresholds == (0.5, 1.0)


def test_own_entry_has_defaults(write):
    entry = load_catalog(write(MINE))["my_train"]
    assert (entry.tracks[0].key, entry.time_unit, entry.thresholds) == ("{vid}", "seconds", (0.3, 0.5, 0.7))


def test_own_entry_replaces_one_of_the_package(write):
    catalog = load_catalog(write("tacos_train: {annotation: a.json, features: f.hdf5}"))
    assert catalog["tacos_train"].annotation == "a.json"
    assert CATALOG["tacos_train"].annotation == "TACoS/train.json"


@pytest.mark.parametrize(
    "entry, named",
    [
        ("{annotation: a.json}", "features"),
        ("{features: f.hdf5}", "annotation"),
        ("{annotation: a.json, features: f.hdf5, threshold: [0.5]}", "did you mean thresholds"),
        ("{annotation: a.json, features: f.hdf5, thresholds: 0.5}", "thresholds 0.5"),
        ("{annotation: a.json, features: f.hdf5, thresholds: [50]}", "thresholds"),
        ("{annotation: a.json, features: f.hdf5, thresholds: []}", "thresholds"),
        ("{annotation: a.json, features: f.hdf5, time_unit: minutes}", "minutes"),
        ("{annotation: a.json, features: f.hdf5, feature_key: c3d}", "feature_key 'c3d'"),
        ("{annotation: a.json, features: f.hdf5, feature_key: ['{vid}']}", "feature_key"),
        ("{annotation: a.json, features: f.hdf5, metrics: [recall]}", "metrics"),
        ("{annotation: 3, features: f.hdf5}", "annotation"),
    ],
)
def test_wrong_entry_is_named_with_its_fault(write, entry, named):
    with pytest.raises(ConfigError, match=f"entry mine of .*catalog.yaml.*{named}"):
        load_catalog(write(f"mine: {entry}"))


@pytest.mark.parametrize("text", ["", "[1]", "mine: 3", "a: [", "text"])
def test_file_that_holds_no_entries_is_refused(write, text):
    with pytest.raises(ConfigError, match="PATHS_CATALOG"):
        load_catalog(write(text))


def test_python_file_of_the_released_program_is_refused(write):
    with pytest.raises(ConfigError, match="not a yaml file"):
        load_catalog(write("class DatasetCatalog: pass", "paths_catalog.py"))


def test_missing_file_is_named():
    with pytest.raises(ConfigError, match="nowhere.yaml"):
        load_catalog("nowhere.yaml")


def test_unknown_split_is_an_error_with_the_nearest():
    with pytest.raises(ConfigError, match="'charades_tain' .* did you mean charades_train"):
        get_entry("charades_tain", CATALOG)


@pytest.mark.parametrize(
    "text",
    [
        "x: {annotation: a, features: b}\nx: {annotation: c, features: d}\n",
        "1: {annotation: a, features: b}\n'1': {annotation: c, features: d}\n",
    ],
)
def test_entry_that_stands_twice_is_refused(write, text):
    with pytest.raises(ConfigError, match="twice|line 1 already"):
        load_catalog(write(text))


# ---- Feature tracks ----------------------------------------------------------------------------------------------------

TRACKS = """
mine:
  annotation: mine/train.jsonl
  tracks:
    - {path: mine/clip, format: npz, width: 512}
    - {path: mine/tokens, file: "{vid}.npy", selection: "[:, -1, 0, :]", name: patches}
    - {path: mine/hidden, format: pt, key: last}
    - {path: mine/audio.h5, key: "{vid}/rows"}
    - mine/flow.hdf5
  clip_seconds: 2
  vid_suffix: -cam-002
"""


def test_own_entry_has_tracks_of_any_format(write):
    entry = load_catalog(write(TRACKS))["mine"]
    assert entry.tracks == (
        Track(path="mine/clip", format="npz", file="{vid}.npz", key="features", width=512),
        Track(path="mine/tokens", format="npy", file="{vid}.npy", key="", selection="[:, -1, 0, :]", name="patches"),
        Track(path="mine/hidden", format="pt", file="{vid}.pt", key="last"),
        Track(path="mine/audio.h5", key="{vid}/rows"),
        Track(path="mine/flow.hdf5"),
    )
    assert (entry.clip_seconds, entry.vid_suffix) == (2, "-cam-002")


@pytest.mark.parametrize(
    "fields, named",
    [
        ("tracks: []", "'tracks'"),
        ("tracks: [x.hdf5], features: y.hdf5", "'tracks' in its place"),
        ("tracks: [{format: npz}]", "track 1. needs 'path'"),
        ("tracks: [x.hdf5, {path: a, format: mat}]", "track 2. has format 'mat': it must be one of hdf5, npz, npy, pt"),
        ("tracks: [{path: a, format: npz, file: features.npz}]", "file 'features.npz': it must contain {vid}"),
        ("tubes: t.hdf5, tracks: [{path: a, format: npz, file: '{vid}_{qid}.npz'}]", "{qid} in a track"),
        ("tracks: [{path: a, format: npz, width: wide}]", "width 'wide'"),
        ("tracks: [{path: a, format: npz, selection: '[__import__]'}]", "'__import__'"),
        ("tracks: [{path: a, format: npz, colour: red}]", "unknown key 'colour'"),
        ("features: y.hdf5, clip_seconds: 0", "clip_seconds 0"),
        ("features: y.hdf5, vid_suffix: 2", "vid_suffix 2"),
        ("features: y.hdf5, licence: [MIT]", "licence .'MIT'"),
    ],
)
def test_wrong_track_is_named_with_its_fault(write, fields, named):
    with pytest.raises(ConfigError, match=f"entry mine of .*catalog.yaml.*{named}"):
        load_catalog(write(f"mine: {{annotation: a.json, {fields}}}"))


@pytest.mark.parametrize(
    "paths, names",
    [
        (["a/clip_features", "a/slowfast_features"], ["clip", "slowfast"]),
        (["HC_STVG/val_csn.hdf5", "HC_STVG/val_flow.hdf5"], ["csn", "flow"]),
        (["HC_STVG/val_csn.hdf5"], [None]),
        (["same", "same"], [None, None]),
    ],
)
def test_tracks_are_named_by_what_tells_their_paths_apart(paths, names):
    assert track_names([Track(path=path) for path in paths]) == names


@pytest.mark.parametrize(
    "split, tracks",
    [
        ("qvhighlights_clip_slowfast_train", ["clip", "slowfast"]),
        ("qvhighlights_slowfast_clip_val", ["slowfast", "clip"]),
        ("charades_clip_slowfast_test", ["clip", "slowfast"]),
        ("activitynet_clip_val", ["clip"]),
        ("tacos_clip_b32_test", ["clip_b32"]),
        ("mad_clip_test", ["clip"]),
    ],
)
def test_distributed_entry_has_the_tracks_of_its_name_in_its_order(split, tracks):
    assert [track.name for track in CATALOG[split].tracks] == tracks
