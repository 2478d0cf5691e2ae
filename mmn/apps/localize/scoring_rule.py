"""The rule by which the moments of one video are scored for a sentence, and by which the best ones are chosen.

Shapes: U queries, W windows of M moments each.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from yacs.config import CfgNode

from mmn.apps.localize.results import LocalizedMoment
from mmn.evaluation.inference import refuse_nan
from mmn.modeling.match_rules import COSINE, MATCH_RULES
from mmn.modeling.scoring import combined_score, iou_score
from mmn.structures.moments import nms_indices
from mmn.structures.proposals import ProposalCells


class MomentScores(NamedTuple):
    """Scores of all moments of a video, each [U, W, M] float32; see `LocalizedMoment`, whose score is `final` here."""

    contrastive: Tensor | None
    iou: Tensor
    final: Tensor


@dataclass(frozen=True)
class ScoringRule:
    """A score from the two heads' cosines, then one suppression over all windows; as released (SPEC section 5) or not.

    Attributes:
        score: TEST.SCORE, which says what moments are ranked by.
        contrastive_power: TEST.CONTRASTIVE_SCORE_POW.
        nms_threshold: TEST.NMS_THRESH; of two moments whose IoU is above it the better one stays.
        match: TEST.CONTRASTIVE_RULE, a name in MATCH_RULES.
    """

    score: str
    contrastive_power: float
    nms_threshold: float
    match: str = COSINE
    precision = torch.float32  # in which moments are compared
    joins_windows = False  # whether moments of several windows are compared by their scores as they are

    def score_moments(self, contrastive: Tensor, iou: Tensor, cells: ProposalCells) -> MomentScores:
        """Cosines of queries with the moments of `cells` in the two joint spaces, each [U, W, M] -> their scores."""
        iou, match = iou_score(iou), MATCH_RULES[self.match](contrastive, cells)
        return MomentScores(contrastive, iou, combined_score(match, iou, self.contrastive_power, self.score))

    def best_moments(self, moments: Tensor, scores: MomentScores, top_k: int) -> list[tuple[LocalizedMoment, ...]]:
        """The best moments of each query, best first.

        Args:
            moments: [W, M, 2] seconds.
            scores: those that `score_moments` gives.
            top_k: moments per query at most; there are fewer where suppression leaves fewer.
        """
        moments = moments.flatten(0, 1)
        final = scores.final.flatten(1)
        refuse_nan(final)
        candidates, top_k = moments.to(self.precision).expand(len(final), -1, -1), min(top_k, len(moments))
        kept, kept_scores = nms_indices(candidates, final, self.nms_threshold, top_k)
        heads = (
            [[None] * top_k] * len(final) if head is None else head.flatten(1).gather(1, kept).tolist()
            for head in (scores.contrastive, scores.iou)
        )
        columns = (moments[kept].tolist(), kept_scores.tolist(), *heads)
        return [_to_moments(*query) for query in zip(*columns, strict=True)]


@dataclass(frozen=True)
class MapScoringRule(ScoringRule):
    """The rule of 2D-TAN, whose map has one score; its suppression is in float64 (SPEC section 10)."""

    precision = torch.float64
    joins_windows = True  # one loss has trained all its scores: those of other windows are as good

    def score_moments(self, scores: Tensor, cells: ProposalCells) -> MomentScores:  # type: ignore[override]  # one head
        """Scores [U, W, M] as the network gives them."""
        return MomentScores(None, scores, scores)


RULES = {"TAN2D": MapScoringRule}  # by MODEL.ARCHITECTURE; ScoringRule for all others


def build_scoring_rule(cfg: CfgNode) -> ScoringRule:
    """The rule that a config evaluates by."""
    test, rule = cfg.TEST, RULES.get(cfg.MODEL.ARCHITECTURE, ScoringRule)
    return rule(test.SCORE, test.CONTRASTIVE_SCORE_POW, test.NMS_THRESH, test.CONTRASTIVE_RULE)


def _to_moments(
    moments: list[list[float]], scores: list[float], contrastive: list[float | None], iou: list[float]
) -> tuple[LocalizedMoment, ...]:
    """One query's kept moments; scores of 0 are places that were left empty."""
    columns = zip(moments, scores, contrastive, iou, strict=True)
    return tuple(LocalizedMoment(*moment, *values) for moment, *values in columns if values[0] > 0)
