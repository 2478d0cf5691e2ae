"""The home folder and variables in paths: of config keys, of catalog entries, and of commands' arguments."""

import argparse
import importlib

import pytest

from mmn.commands.frame import build_parser
from mmn.commands.main import COMMANDS
from mmn.config.defaults import _C, CHOICES, PATHS
from mmn.config.load import config_values, load_config, load_config_text
from mmn.data.splits import Splits
from mmn.utils.errors import ConfigError

TEXTS = {"DATASETS.NAME", "MODEL.DEVICE", "MODEL.MMN.TEXT_ENCODER.NAME"}  # keys of words that are no paths
WORDS = {  # arguments of words that are no paths
    *("split", "options", "components", "name", "layer", "device", "remove", "feature_key", "master_addr", "tool"),
    *(
        "arguments",
        "words",
        "like",
        "sweep",
        "qids",
        "backbone",
        "host",
        "licence",
        "push",
        "video_id",
        "rules",
        "vary",
        "measure",
        "default",
    ),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("SCRATCH", "/fast disk")
    monkeypatch.delenv("NOWHERE", raising=False)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "file.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_every_key_of_a_text_is_a_path_a_choice_or_words():
    texts = {key for key, value in config_values(_C).items() if isinstance(value, str)}
    assert texts == PATHS | set(CHOICES) | TEXTS
    assert not PATHS & (set(CHOICES) | TEXTS)


@pytest.mark.parametrize("key", sorted(PATHS))
@pytest.mark.parametrize(
    "given, expanded",
    [
        ("~/x", "/home/ada/x"),
        ("$SCRATCH/x", "/fast disk/x"),
        ("${SCRATCH}x", "/fast diskx"),
        ("a/~/$$HOME", "a/~/$HOME"),
        ("", ""),
    ],
)
def test_path_of_every_key_is_expanded(write, key, given, expanded):
    file = write(f"{key}: {given!r}")
    assert config_values(load_config(None, [key, given]))[key] == expanded
    assert config_values(load_config(file))[key] == expanded


def test_variable_that_is_not_set_is_named_with_its_key(write):
    file = write("OUTPUT_DIR: $NOWHERE/x")
    for load in (lambda: load_config(None, ["OUTPUT_DIR", "${NOWHERE}/x"]), lambda: load_config(file)):
        with pytest.raises(ConfigError, match=r"^OUTPUT_DIR is .*NOWHERE.*no variable NOWHERE: set it"):
            load()
    assert load_config(file, ["OUTPUT_DIR", "out"]).OUTPUT_DIR == "out"


def test_home_of_nobody_is_refused():
    with pytest.raises(ConfigError, match="OUTPUT_DIR is '~nobody-here/x', but there is no user"):
        load_config(None, ["OUTPUT_DIR", "~nobody-here/x"])


def test_paths_that_a_checkpoint_carries_stay_as_they_are():
    cfg = load_config_text("OUTPUT_DIR: /data/a$NOWHERE", "the checkpoint", ["DATASETS.ROOT", "~/data"])
    assert (cfg.OUTPUT_DIR, cfg.DATASETS.ROOT) == ("/data/a$NOWHERE", "/home/ada/data")


def test_base_of_a_file_is_expanded(write, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path / "bases"))
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "base.yaml").write_text("SOLVER: {SEED: 7}")
    assert load_config(write("_BASE_: $SCRATCH/base.yaml")).SOLVER.SEED == 7


def test_catalog_entries_are_expanded(write):
    moments = "mine: {annotation: ~/a.json, features: $SCRATCH/f.hdf5, durations: d.json}\n"
    tubes = "walks: {annotation: a.json, tubes: ~/t.hdf5, tracks: [~/x.hdf5, $SCRATCH/y.hdf5]}\n"
    splits = Splits(load_config(None, ["PATHS_CATALOG", write(moments + tubes), "DATASETS.ROOT", "root"]))
    mine, walks = splits.find("mine").entry, splits.find("walks").entry
    assert (mine.annotation, mine.tracks[0].path) == ("/home/ada/a.json", "/fast disk/f.hdf5")
    assert mine.durations == "root/d.json"
    assert (walks.annotation, walks.tubes) == ("root/a.json", "/home/ada/t.hdf5")
    assert [track.path for track in walks.tracks] == ["/home/ada/x.hdf5", "/fast disk/y.hdf5"]


def test_variable_of_a_catalog_entry_is_named_when_the_entry_is_used(write):
    path = write("mine: {annotation: $NOWHERE/a.json, features: f}\nother: {annotation: a, features: f}")
    splits = Splits(load_config(None, ["PATHS_CATALOG", path]))
    splits.find("other")
    with pytest.raises(ConfigError, match="annotation of the catalog entry mine is .*NOWHERE"):
        splits.find("mine")


def arguments(command):
    """The arguments of a command that take words."""
    module = importlib.import_module(f"mmn.commands.{command.replace('-', '_')}")
    parser = build_parser(module, command, "")
    kinds = (argparse._StoreAction, argparse._AppendAction)
    return parser, [action for action in parser._actions if isinstance(action, kinds)]


@pytest.mark.parametrize("command", COMMANDS)
def test_home_is_expanded_in_every_path_of_a_command(command):
    parser, actions = arguments(command)
    for action in actions:
        is_words = action.dest in WORDS or (command, action.dest) == ("search", "videos")
        if action.type not in (None, "path") or action.choices or is_words:
            continue
        assert parser._get_value(action, "~/x") == "/home/ada/x", action.dest
        assert parser._get_value(action, "a$b~") == "a$b~"
