"""The dataset catalog and entries of a user's own."""

import pytest

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
    assert (entry.annotation, entry.features, entry.feature_key) == (annotation, features, key)
    assert (entry.time_unit, entry.thresholds) == (unit, thresholds)


def test_all_released_splits_are_there():
    splits = [f"{name}_{split}" for name in ("tacos", "activitynet") for split in ("train", "val", "test")]
    assert CATALOG.keys() >= {*splits, "charades_train", "charades_test"}


def test_own_entries_join_those_of_the_package(write):
    catalog = load_catalog(write(MINE))
    assert catalog.keys() == CATALOG.keys() | {"my_train", "my_test"}
    assert catalog["my_test"].feature_key == "{vid}/c3d"
    assert catalog["my_test"].time_unit == "frames"
    assert catalog["my_test"].thresholds == (0.5, 1.0)


def test_own_entry_has_defaults(write):
    entry = load_catalog(write(MINE))["my_train"]
    assert (entry.feature_key, entry.time_unit, entry.thresholds) == ("{vid}", "seconds", (0.3, 0.5, 0.7))


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
