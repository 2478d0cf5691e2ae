"""Numbers in the attributes of files, read alike everywhere."""

import math
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from mmn.utils.errors import DataError


def number_attribute(attributes: Mapping, name: str, where: str) -> int | float | None:
    """The number in an attribute, which programs write with the shape () or (1,); None where there is no such attribute.

    Args:
        where: whose attributes they are, for messages.
    Raises DataError where it is no finite real number: text, a truth value, several numbers, NaN, infinity.
    """
    value = attributes.get(name)
    if value is None:
        return None
    number = plain_number(value)
    if number is None:
        raise DataError(f"the attribute {name} of {where} is {_shown(value)}: it must be one finite number")
    return number


def plain_number(value: object) -> int | float | None:
    """The Python number of a number, a NumPy scalar, or an array of shape () or (1,); None for what is no finite number.

    >>> plain_number(np.array([2.5], dtype=np.float32)), plain_number(True), plain_number("2.5"), plain_number([1, 2])
    (2.5, None, None, None)
    """
    if isinstance(value, np.ndarray) and value.shape == (1,):
        value = value[0]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        return None
    try:
        number = int(value) if isinstance(value, Integral) else float(value)
        return number if math.isfinite(number) else None
    except OverflowError:
        return None


def _shown(value: object) -> str:
    """The value as plain Python, short enough for a message."""
    text = repr(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
