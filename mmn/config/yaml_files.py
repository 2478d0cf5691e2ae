"""Reading config files, and the files that they build on, as plain dictionaries."""

import os

import yaml

from mmn.utils import text_files
from mmn.utils.errors import ConfigError, failed_read
from mmn.utils.paths import expand_path

BASE_KEY = "_BASE_"  # as in detectron2 and fvcore: the file that a config file builds on, relative to itself


def read_config_files(path: str) -> list[tuple[str, dict]]:
    """The file and, before it, those that it builds on: (path, content) in the order in which they are merged.

    Raises ConfigError: a file that cannot be read or is no yaml mapping, a `_BASE_` that is no path, or one that leads
    back to a file that builds on it.
    """
    files: list[tuple[str, dict]] = []
    paths: list[str] = []
    while path:
        remedy = f"correct {BASE_KEY} in {paths[-1]}" if paths else "check --config-file"
        content = parse_yaml(_read_text(path, remedy), f"the config file {path}")
        is_known = any(os.path.samefile(path, known) for known in paths)
        paths.append(path)
        if is_known:
            circle = " -> ".join(paths)
            raise ConfigError(f"the config file {path} builds on itself ({circle}): take {BASE_KEY} out of one of them")
        files.insert(0, (path, content))
        path = _base_path(path, content.pop(BASE_KEY)) if BASE_KEY in content else ""
    return files


def _base_path(path: str, base: object) -> str:
    if not isinstance(base, str) or not base:
        raise ConfigError(f"{path} sets {BASE_KEY} to {base!r}, but it must be the path of a config file, as a text")
    return os.path.join(os.path.dirname(path), expand_path(base, f"{BASE_KEY} of {path}"))


def _read_text(path: str, remedy: str) -> str:
    try:
        return text_files.read_text(path)
    except OSError as error:
        raise ConfigError(f"the config file {path} cannot be read ({failed_read(error)}): {remedy}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the config file {path} is not valid yaml: {error}") from error
    except ValueError as error:  # a path with a zero byte, or of characters that no file name has
        raise ConfigError(f"the config file {path!r} cannot be read ({error}): {remedy}") from error


def parse_yaml(text: str, where: str) -> dict:
    """The mapping that a yaml text holds, {} for an empty one. Raises ConfigError, which names `where`, for any other."""
    try:
        content = text_files.parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-01
        raise ConfigError(f"{where} is not valid yaml: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must hold sections like `MODEL:`, not a {type(content).__name__}")
    return content
