"""Numbers on the command line that must lie in a range: types for `argparse`, which says it in one sentence."""

import argparse
import math


def whole_number(text: str) -> int:
    """A whole number of at least 1. Raises ArgumentTypeError for anything else."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def above_zero(text: str) -> float:
    """A finite number above 0. Raises ArgumentTypeError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value
