"""IoU thresholds of recall, as users give them."""

from collections.abc import Sequence

from mmn.utils.errors import ConfigError


def checked_thresholds(thresholds: Sequence[float], key: str = "--thresholds") -> tuple[float, ...]:
    """The thresholds; raises ConfigError, naming `key`, for none at all, one that is no IoU to reach, and one twice."""
    for threshold in thresholds:
        if not 0 < threshold <= 1:  # NaN is not either
            raise ConfigError(f"{key} has {threshold}: an IoU is above 0 and at most 1, so 50 % is 0.5")
        if list(thresholds).count(threshold) > 1:
            raise ConfigError(f"{key} has {threshold} twice: give each IoU once")
    if not thresholds:
        raise ConfigError(f"{key} is empty: give at least one IoU, such as 0.5")
    return tuple(thresholds)
