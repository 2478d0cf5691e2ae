"""The rules that the moments of a whole library can be ranked by. Nothing here takes time to import.

A rule says which head is searched, and in what order the moments that it finds are listed. Which one is the default was
measured on held-out videos: docs/SEARCH_MEASUREMENTS.md has the figures.
"""

from dataclasses import dataclass

from mmn.utils.errors import ConfigError, nearest

DEFAULT_PER_VIDEO = 3
"""Moments of one video in a list, at most."""


@dataclass(frozen=True)
class RankingRule:
    """An order of moments: the first `depth` of a head by `rank_scores`, then those beyond in the order of the head.

    Attributes:
        name: the word that users know it by.
        head: the one of HEADS whose nearest moments are taken.
        depth: number of candidates among them; 0 where their order is that of the scores already.
        kind: one of those of `rank_scores`.
    """

    name: str
    head: str
    depth: int
    kind: str


RULES = {
    rule.name: rule
    for rule in (
        RankingRule("rerank", "contrastive", 1000, "rerank"),
        RankingRule("contrastive", "contrastive", 0, "contrastive"),
        RankingRule("iou", "iou", 0, "iou"),
        RankingRule("product", "contrastive", 1000, "product"),
    )
}
DEFAULT_RULE = "rerank"
EXAMPLE_RULE = "contrastive"
"""Rule for queries by example: better there than the rules made for sentences (docs/SEARCH_MEASUREMENTS.md)."""


def find_rule(name: str) -> RankingRule:
    """One of RULES. Raises ConfigError for another name."""
    if name not in RULES:
        raise ConfigError(f"there is no rule {name!r} to rank moments by{nearest(name, list(RULES))}")
    return RULES[name]
