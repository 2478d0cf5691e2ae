"""The rules that the moments of a whole library are ranked by.

A rule says which head is searched, and what the moments that it finds are ordered by. Which one is the default was
measured: docs/SEARCH.md.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmn.modeling.scoring import final_score, iou_score
from mmn.utils.errors import ConfigError, nearest

DEFAULT_PER_VIDEO = 3
"""Moments of one video in a list, at most."""


@dataclass(frozen=True)
class Rule:
    """How moments are ranked.

    Attributes:
        name: what users call it.
        head: the one of HEADS whose nearest moments are taken.
        depth: how many of them are ordered anew by `scores`; 0 where that would change nothing: their order is that of
            the scores already.
        score: the kind of `mmn.modeling.scoring.final_score`.
    """

    name: str
    head: str
    depth: int
    score: str

    def scores(self, contrastive: np.ndarray, iou: np.ndarray, power: float) -> np.ndarray:
        """What moments are ordered by, in [0, 1].

        Args:
            contrastive, iou: float32, the moments' cosines with the query in the two spaces, of any one shape.
            power: TEST.CONTRASTIVE_SCORE_POW.
        Returns:
            float32, of the same shape.
        """
        return rank_scores(torch.from_numpy(contrastive), torch.from_numpy(iou), power, self.score).numpy()


def rank_scores(contrastive: Tensor, iou: Tensor, power: float, kind: str) -> Tensor:
    """`Rule.scores` for tensors: the cosines of both heads -> `final_score` of that kind."""
    return final_score(contrastive, iou_score(iou), power, kind)


RULES = {
    rule.name: rule
    for rule in (
        Rule("contrastive", "contrastive", 0, "contrastive"),
        Rule("iou", "iou", 0, "iou"),
        Rule("product", "contrastive", 1000, "product"),
        Rule("rerank", "contrastive", 1000, "product"),
    )
}
DEFAULT_RULE = "rerank"


def find_rule(name: str) -> Rule:
    """One of RULES. Raises ConfigError for another name."""
    if name not in RULES:
        raise ConfigError(f"there is no rule {name!r} to rank moments by{nearest(name, list(RULES))}")
    return RULES[name]
