"""MMN, the Mutual Matching Network for temporal grounding (AAAI 2022)."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["EncodedVideo", "LocalizedMoment", "MomentLocalizer", "QueryResult", "ScoreMaps"]

if TYPE_CHECKING:
    from mmn.localizer import EncodedVideo, LocalizedMoment, MomentLocalizer, QueryResult, ScoreMaps


def __getattr__(name: str):
    """The names of the Python API, imported when they are first asked for: `import mmn` alone loads no library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmn import localizer

    return getattr(localizer, name)
