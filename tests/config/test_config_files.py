"""The files of configs/: what they come to with all that they build on, and that they hold no more than they must."""

import json
from pathlib import Path

import pytest
from tiny import ROOT

from mmn.config import get_cfg, load_config, validate
from mmn.config.load import config_values
from mmn.config.yaml_files import read_config_files

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
BASES = sorted((ROOT / "configs" / "bases").glob("*.yaml"))
# "defaults": every value; by file: the values that differ from them. As they were when each file still held all of its own.
RECORDED = json.loads(Path(__file__).with_name("merged_values.json").read_text())


def plain(values):
    """As json has them: tuples as lists."""
    return json.loads(json.dumps(values))


def values_of(path):
    return plain(config_values(load_config(str(path))))


@pytest.mark.parametrize("name", RECORDED.keys() - {"defaults"})
def test_merged_values_are_the_recorded_ones(name):
    wanted = RECORDED["defaults"] | RECORDED[name]
    values = values_of(ROOT / "configs" / f"{name}.yaml")
    assert {key: values[key] for key in wanted} == wanted


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_loads_and_is_valid(path):
    validate(load_config(str(path)))


@pytest.mark.parametrize("path", [*CONFIGS, *BASES], ids=lambda path: path.name)
def test_file_holds_only_what_differs_from_what_it_builds_on(path):
    *bases, (_, own) = read_config_files(str(path))
    before = values_of(bases[-1][0]) if bases else plain(config_values(get_cfg()))
    differing = {key for key, value in values_of(path).items() if value != before[key]}
    assert set(keys_of(own)) == differing


def keys_of(content, prefix=""):
    """The full names of the keys in nested sections."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
