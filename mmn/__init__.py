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
_MODULES = {  # where each of them lives
    "EncodedVideo": "mmn.apps.localize.encoded_video",
    "FoundMoment": "mmn.apps.search.search_results",
    "LocalizedMoment": "mmn.apps.localize.results",
    "MomentIndex": "mmn.apps.search.moment_index",
    "MomentLocalizer": "mmn.apps.localize.localizer",
    "QueryResult": "mmn.apps.localize.results",
    "ScoreMaps": "mmn.apps.localize.results",
    "SearchResult": "mmn.apps.search.search_results",
}

if TYPE_CHECKING:
    from mmn.apps.localize.encoded_video import EncodedVideo
    from mmn.apps.localize.localizer import MomentLocalizer
    from mmn.apps.localize.results import LocalizedMoment, QueryResult, ScoreMaps
    from mmn.apps.search.moment_index import MomentIndex
    from mmn.apps.search.search_results import FoundMoment, SearchResult


def __getattr__(name: str):
    """The names of the Python API, imported when they are first asked for: `import mmn` alone loads no library."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
