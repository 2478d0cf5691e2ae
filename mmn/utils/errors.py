"""Errors that a user can cause and mend. Their text is one sentence: what is wrong, where, and what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake outside the code. The tools print its text alone and exit with code 2 (see `mmn.utils.cli`).

    Args:
        is_own: whether this process, of several that fail together, found the cause; None where all find it.
    """

    def __init__(self, text: str, is_own: bool | None = None):
        super().__init__(text)
        self.is_own = is_own


class Preempted(Exception):
    """The run was told to stop and has saved its state; the text says so. The tools exit with code 75."""


class ConfigError(UserError):
    """A config key, value or combination of values that cannot work."""


class DataError(UserError):
    """An annotation or feature file that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that cannot be found, read or fitted to the model."""


def failed_read(error: Exception) -> str:
    """The reason why a file cannot be read or understood, in words for a sentence that names the file.

    >>> failed_read(IsADirectoryError(21, "Is a directory")), failed_read(ValueError("Expecting value"))
    ('it is a folder', 'Expecting value')
    """
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def closest_match(name: str, known: Iterable[str]) -> str | None:
    """The known name that an unknown one was meant to be; None where none is near.

    >>> closest_match("num_clip", ["NUM_CLIPS", "LOSS"])
    'NUM_CLIPS'
    """
    known = list(known)
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not matches:  # a match in another case, or a part of a name
        matches = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
    return matches[0] if matches else None


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error sentence about an unknown name: ": did you mean X?", or the choices where none is near.

    >>> nearest("NUM_CLIP", ["NUM_CLIPS", "LOSS"])
    ': did you mean NUM_CLIPS?'
    """
    known = list(known)
    match = closest_match(name, known)
    return f": did you mean {match}?" if match else f": the choices are {', '.join(sorted(known))}"


def listed(names: Iterable[str], limit: int = 10) -> str:
    """The first names for an error sentence, with dots where there are more.

    >>> listed(["a", "b", "c"], limit=2)
    'a, b, ...'
    """
    names = list(names)
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def unknown_choice(key: str, value: object, choices: Iterable[str]) -> ConfigError:
    """The error for a config key or flag whose value is none of its choices.

    >>> str(unknown_choice("--format", "xls", ["csv", "json"]))
    "--format is 'xls': it must be one of 'csv', 'json'"
    """
    return ConfigError(f"{key} is {value!r}: it must be one of {', '.join(map(repr, choices))}")
