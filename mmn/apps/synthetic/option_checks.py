"""Checks of the options that a made dataset is given."""

from collections.abc import Iterable

from mmn.utils.errors import ConfigError


def check_above_zero(options: object, names: Iterable[str], what: str) -> None:
    """Raise ConfigError where one of these options of `what` is not above 0."""
    for name in names:
        if not getattr(options, name) > 0:
            raise ConfigError(f"{what}'s {name} cannot be {getattr(options, name)}: it must be above 0")


def check_not_negative(options: object, names: Iterable[str], what: str) -> None:
    """Raise ConfigError where one of these options of `what` is below 0."""
    for name in names:
        if not getattr(options, name) >= 0:
            raise ConfigError(f"{what}'s {name} cannot be {getattr(options, name)}: it must be 0 or above")
