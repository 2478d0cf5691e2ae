"""Checks of what a user asks for, before any work is done."""

from collections.abc import Sequence
from numbers import Integral

from mmn.utils.errors import ConfigError


def check_top_k(top_k: int) -> None:
    """Raise ConfigError where it is no number of moments."""
    if not isinstance(top_k, Integral) or top_k < 1:
        raise ConfigError(f"top_k is {top_k}: it must be a whole number of at least 1")


def checked_queries(queries: object) -> tuple[list[str], list[str]]:
    """The queries as a list, and the different ones among them in order of appearance.

    Raises ConfigError where there is none, or one is no text or empty.
    """
    if isinstance(queries, str):
        queries = [queries]
    if not isinstance(queries, Sequence) or not queries:
        raise ConfigError(f"the queries are {queries!r}: give a list of at least one sentence")
    for number, query in enumerate(queries, start=1):
        if not isinstance(query, str) or not query.strip():
            raise ConfigError(f"query {number} of {len(queries)} is {query!r}: it must be a text that is not empty")
        if any("\ud800" <= character <= "\udfff" for character in query):  # halves of characters, which json can spell
            raise ConfigError(f"query {number} of {len(queries)} is {query!r}, which is no valid Unicode: correct it")
    return list(queries), list(dict.fromkeys(queries))
