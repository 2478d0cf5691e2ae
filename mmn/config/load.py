"""Merging a yaml file and command-line pairs into the defaults, with errors that name the key and the nearest one."""

import ast
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from yacs.config import CfgNode

from mmn.config.defaults import _C, PATHS
from mmn.config.packaged import find_config
from mmn.config.released_names import RELEASED_ARCHITECTURES, our_name, translate
from mmn.config.yaml_files import parse_yaml, read_config_files
from mmn.utils.errors import ConfigError, closest_match
from mmn.utils.paths import expand_path

ALSO_LISTS = ("MODEL.MMN.FEATPOOL.INPUT_SIZE",)  # keys that take several of what their default is, in a list
NUMBERS: dict[str, type] = {"TEST.THRESHOLDS": float}  # keys whose default is empty and that hold numbers
DEEPEST = 8  # sections in sections that are looked into; yaml can even nest a section in itself


def load_config(config_file: str | None = None, options: Sequence[str] = ()) -> CfgNode:
    """Defaults, then `config_file`, then `options`, an alternation of keys and values as on the command line.

    A file whose `_BASE_` names another one builds on that: the values of the other hold where it has none of its own.
    In the values of PATHS the home folder and variables of the environment are expanded.

    Raises ConfigError: an unreadable file, an unknown key (with the nearest one), a value of another type, a path with a
    variable that is not set.
    """
    cfg = _C.clone()
    if config_file:
        _merge(cfg, read_config_files(find_config(config_file)))
        overridden = {our_name(key) for key in options[::2]}
        for key in PATHS - overridden:
            _expand(cfg, key)
    return override_config(cfg, options)


def load_config_text(text: str, where: str, options: Sequence[str] = ()) -> CfgNode:
    """Defaults, the text of a yaml file, such as a checkpoint carries, then `options`. `where` names it in errors.

    Paths in the text are another run's, in full already, and stay as they are.
    """
    cfg = _C.clone()
    _merge(cfg, [(where, parse_yaml(text, where))])
    return override_config(cfg, options)


def override_config(cfg: CfgNode, options: Sequence[str]) -> CfgNode:
    """A frozen copy of a config with `options`, an alternation of keys and values, over it. Raises ConfigError."""
    cfg = cfg.clone()
    cfg.defrost()
    if len(options) % 2:
        raise ConfigError(f"the options after the flags must be pairs KEY VALUE, but {options[-1]!r} stands alone")
    for key, value in zip(options[::2], options[1::2], strict=True):
        _set(cfg, key, value, where="the command line")
        if our_name(key) in PATHS:
            _expand(cfg, our_name(key))
    if "SOLVER.RESUME" in options[::2] and "SOLVER.RESUME_EPOCH" not in options[::2]:
        cfg.SOLVER.RESUME_EPOCH = 1  # see the keys in defaults.py
    cfg.freeze()
    return cfg


def _merge(cfg: CfgNode, files: Sequence[tuple[str, dict]]) -> None:
    """Set the values of (where they are from, content) pairs, one after the other."""
    for where, values in translate([(where, flat_values(content, where)) for where, content in files]):
        _refuse_both_names(values, where)
        for key, value in values.items():
            _set(cfg, key, value, where)


def flat_values(content: dict, where: str) -> dict[str, object]:
    """The values by their full names. Raises ConfigError where a key is given both in its section and by its full name."""
    values: dict[str, object] = {}
    for key, value in _flatten(content):
        if key in values:
            raise ConfigError(f"{where} sets {key} twice, in its section and by its full name: keep one")
        values[key] = value
    return values


def _flatten(node: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and prefix.count(".") < DEEPEST:
            yield from _flatten(value, f"{name}.")
        elif value is None and isinstance(_lookup(name), CfgNode):
            continue  # a section left empty
        else:
            yield name, value


def _lookup(key: str) -> object:
    node: object = _C
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            return None
        node = node[part]
    return node


def config_keys(node: CfgNode = _C, prefix: str = "") -> list[str]:
    """The full names of all keys, sections excluded."""
    names = []
    for key, value in node.items():
        if isinstance(value, CfgNode):
            names += config_keys(value, f"{prefix}{key}.")
        else:
            names.append(f"{prefix}{key}")
    return names


def _refuse_both_names(content: dict[str, object], where: str) -> None:
    for key in content:
        ours = our_name(key)
        if ours != key and ours in content:
            raise ConfigError(f"{where} sets {ours} and, by its released name, {key}: leave one of them out")


def config_values(cfg: CfgNode) -> dict[str, object]:
    """The values of all keys by their full names."""
    values: dict[str, object] = {}
    for key in config_keys():
        node: Any = cfg
        for part in key.split("."):
            node = node[part]
        values[key] = node
    return values


def _set(cfg: CfgNode, key: str, value: object, where: str) -> None:
    key = our_name(key)
    if key == "MODEL.ARCHITECTURE" and isinstance(value, str):
        value = RELEASED_ARCHITECTURES.get(value, value)
    default = _lookup(key)
    if default is None:
        raise ConfigError(f"{where} has an unknown key {key}{_nearest_key(key)}")
    if isinstance(default, CfgNode):
        raise ConfigError(f"{where} gives a value to {key}, which is a section: give it to one of its keys")
    section, name = _section_of(cfg, key)
    section[name] = _convert(key, value, default, where)


def _section_of(cfg: CfgNode, key: str) -> tuple[CfgNode, str]:
    """The section that holds a key, and the key's name in it."""
    *sections, name = key.split(".")
    for section in sections:
        cfg = cfg[section]
    return cfg, name


def _expand(cfg: CfgNode, key: str) -> None:
    """Write out the home folder and the variables in a path."""
    section, name = _section_of(cfg, key)
    section[name] = expand_path(section[name], key)


def _nearest_key(key: str) -> str:
    """The end of an error sentence about an unknown key, which is most likely one of the same section."""
    keys = config_keys()
    section, _, name = key.rpartition(".")
    siblings = [known for known in keys if known.rpartition(".")[0] == section]
    for candidates in (siblings, keys):
        by_name = {known.rpartition(".")[2]: known for known in reversed(candidates)}  # of namesakes the first
        if match := closest_match(name, by_name):
            return f": did you mean {by_name[match]}?"
    match = closest_match(key, keys)
    return f": did you mean {match}?" if match else ": see mmn/config/defaults.py for the keys"


def _convert(key: str, value: object, default: object, where: str) -> object:
    """The value in the type of the key's default. Strings are read as Python literals where the default is none."""
    if isinstance(value, str) and not isinstance(default, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that literal_eval raises
            # A bare name for a tuple of names, and true/false as yaml writes them.
            if isinstance(default, tuple) and value:
                value = (value,)
            value = {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
    if isinstance(default, str) and isinstance(value, bool):
        value = "on" if value else "off"  # yaml reads a bare off as False
    if isinstance(default, tuple) and isinstance(value, str):
        value = (value,)
    if isinstance(default, float) and type(value) is int and abs(value) < sys.float_info.max:
        return float(value)
    if key in ALSO_LISTS and isinstance(value, (list, tuple)) and value:
        return list(_convert_items(key, value, [default], where))
    if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)):
        return _convert_items(key, value, default, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} sets {key} to {value}, but it must be a finite number")
    if type(value) is not type(default):
        raise ConfigError(f"{where} sets {key} to {value!r}, but it must be {_describe(default)}")
    return value


def _convert_items(key: str, value: Sequence, default: list | tuple, where: str) -> list | tuple:
    """A list or tuple in the default's type, its items checked against the kind of item that the key holds."""
    kind = type(default[0]) if default else NUMBERS.get(key, str)  # other keys whose default is empty hold names
    items: list[Any] = [
        float(item) if kind is float and type(item) is int and abs(item) < sys.float_info.max else item
        for item in value
    ]
    if not all(type(item) is kind for item in items) or (kind is float and not all(map(math.isfinite, items))):
        raise ConfigError(f"{where} sets {key} to {value!r}, but its items must be {_KINDS[kind]}")
    return type(default)(items)


_KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}


def _describe(default: object) -> str:
    if isinstance(default, (list, tuple)):
        return f"a list such as {list(default) or ['name']}"
    return f"{_KINDS[type(default)]} such as {default!r}"
