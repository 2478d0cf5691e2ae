"""MMN, the Mutual Matching Network for temporal grounding (AAAI 2022)."""

import importlib
from typing import TYPE_CHECKING

from mmn.utils.version import VERSION

__version__ = VERSION
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
    from mmn.apps.localize.localizer import EncodedVideo, LocalizedMoment, MomentLocalizer, QueryResult, ScoreMaps
    from mmn.apps.search.moment_index import FoundMoment, MomentIndex, SearchResult

INDEX_NAMES = ("FoundMoment", "MomentIndex", "SearchResult")


def __getattr__(name: str):
    """The names of the Python API, imported when they are first asked for: `import mmn` alone loads no library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(
        importlib.import_module(
            "mmn.apps.search.moment_index" if name in INDEX_NAMES else "mmn.apps.localize.localizer"
        ),
        name,
    )
