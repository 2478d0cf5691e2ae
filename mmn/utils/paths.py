"""The home folder and variables of the environment in paths that no shell has seen."""

import os
import re

from mmn.utils.errors import ConfigError

VARIABLE = re.compile(r"\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[^}]*)\}|(?P<dollar>\$))", re.ASCII)


def expand_path(path: str, key: str) -> str:
    """The path with a leading `~` or `~user`, and with `$NAME` and `${NAME}`, in full; `$$` is a dollar sign.

    Args:
        key: the config key or field that has the path, for messages.
    Raises ConfigError where a variable is not set, or there is no such user.

    >>> expand_path("/$$HOME/a~b", "OUTPUT_DIR")
    '/$HOME/a~b'
    """

    def value(match: re.Match) -> str:
        if match["dollar"]:
            return "$"
        name = match["name"] or match["braced"]
        if name not in os.environ:
            raise ConfigError(
                f"{key} is {path!r}, but the environment has no variable {name}: set it, or write the path in full, with "
                "$$ for a dollar sign"
            )
        return os.environ[name]

    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ConfigError(f"{key} is {path!r}, but there is no user of that name: write ./{path} for such a folder")
    return VARIABLE.sub(value, expanded)


def expand_user(word: str) -> str:
    """A path on the command line, with a leading `~` or `~user` in full, as after `--out=`, where shells leave it.

    Variables are the shell's: what still has a `$` in it means a dollar sign. `~` before no user's name stays.
    """
    return os.path.expanduser(word)
