"""MMN, the Mutual Matching Network for temporal grounding (AAAI 2022)."""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "EncodedVideo",
    "FoundMoment",
    "LocalizedMoment",
    "MomentIndex",
    "MomentLocalizer",
    "QueryResult",
    "ScoreMaps",
    "SearchResult",
]

if TYPE_CHECKING:
    from mmn.index.index import FoundMoment, MomentIndex, SearchResult
    from mmn.localizer import EncodedVideo, LocalizedMoment, MomentLocalizer, QueryResult, ScoreMaps

INDEX_NAMES = ("FoundMoment", "MomentIndex", "SearchResult")


def __getattr__(name: str):
    """The names of the Python API, imported when they are first asked for: `import mmn` alone loads no library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("mmn.index.index" if name in INDEX_NAMES else "mmn.localizer"), name)
