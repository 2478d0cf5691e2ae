"""Reading text and json as people and other programs write them."""

import json
from collections.abc import Iterator
from typing import Any


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


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of every line that is not blank. Only line feeds and CR LF end a line: a sentence may hold
    other characters that `str.splitlines` splits at, such as U+2028."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")
