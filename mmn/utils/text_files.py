"""Reading text, json and yaml as people and other programs write them."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import yaml


def read_text(path: str) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors put before it.

    Raises OSError and UnicodeDecodeError as `open` does.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        return file.read()


def parse_json(text: str) -> Any:
    """The value of a json text. Raises ValueError, also where an object has a key twice, of which one would be lost."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in content if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} stands twice in one object")
    return content


MERGE_TAG = "tag:yaml.org,2002:merge"  # of `<<`, of which yaml merges as many as there are


class UniqueKeyLoader(yaml.SafeLoader):
    """A yaml loader that refuses a mapping with a key in it twice, of which one would be lost.

    It raises yaml.YAMLError, with the key and its lines, from `yaml.compose` as from `yaml.load`.
    """

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """The mapping that the parser has come to."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines and key.tag != MERGE_TAG:
                raise yaml.YAMLError(f"the key {key.value!r} of line {line} stands on line {lines[name]} already")
            lines[name] = line
        return node


def parse_yaml(text: str) -> Any:
    """The value of a yaml text, None for an empty one. Raises yaml.YAMLError, also where a mapping has a key twice.

    ValueError, as for a date such as 2024-13-01, and RecursionError come from the library.
    """
    return yaml.load(text, Loader=UniqueKeyLoader)


def is_number(value: object) -> bool:
    """Tell whether a value of a json or yaml text is a finite number that a float can hold."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max


def is_unicode(text: str) -> bool:
    """Tell whether a text has no lone surrogates, which json can spell but no tokenizer reads."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of every line that is not blank. Only line feeds and CR LF end a line: a sentence may hold
    other characters that `str.splitlines` splits at, such as U+2028."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")
