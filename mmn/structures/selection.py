"""Selections of an array in a text, such as `[:, -1, 0, :]`: whole numbers and slices, and nothing that is evaluated."""

import re

from mmn.utils.errors import ConfigError

NUMBER = r"\s*[-+]?\d{1,9}\s*"
INTEGER = re.compile(NUMBER)
SLICE = re.compile(rf"({NUMBER}|\s*):({NUMBER}|\s*)(?::({NUMBER}|\s*))?")

Selection = tuple[int | slice, ...]


def parse_selection(text: str) -> Selection:
    """The index that a selection means, one part for each of an array's first dimensions; () for the whole array.

    Raises ConfigError for anything but whole numbers and slices, separated by commas, with or without brackets.

    >>> parse_selection("[:, -1, 0, ::2]")
    (slice(None, None, None), -1, 0, slice(None, None, 2))
    """
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    return tuple(_parse_part(part, text) for part in inner.split(",")) if inner.strip() else ()


def _parse_part(part: str, text: str) -> int | slice:
    if INTEGER.fullmatch(part):
        return int(part)
    bounds = SLICE.fullmatch(part)
    if bounds is None:
        raise ConfigError(
            f"the selection {text!r} cannot be understood at {part.strip()!r}: it takes whole numbers and slices, such as "
            "'[:, -1, 0, :]'"
        )
    numbers = [int(number) if number and number.strip() else None for number in bounds.groups()]
    if numbers[2] == 0:
        raise ConfigError(f"the selection {text!r} has a slice with step 0: leave the step out, or take another")
    return slice(*numbers)
