"""The rule by which the moments of one video are scored for a sentence, and by which the best ones are chosen.

Shapes: U queries, W windows of M moments each.
"""

from dataclasses import dataclass
from typing import NamedTuple

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

    contrastive: Tensor
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
        contrastive, iou, final = (part.flatten(1) for part in scores)
        refuse_nan(final)
        candidates, top_k = moments.expand(len(final), -1, -1), min(top_k, len(moments))
        kept, kept_scores = nms_indices(candidates, final, self.nms_threshold, top_k)
        columns = (moments[kept], kept_scores, contrastive.gather(1, kept), iou.gather(1, kept))
        return [_to_moments(*query) for query in zip(*(column.tolist() for column in columns), strict=True)]


def build_scoring_rule(cfg: CfgNode) -> ScoringRule:
    """The rule that a config evaluates by."""
    test = cfg.TEST
    return ScoringRule(test.SCORE, test.CONTRASTIVE_SCORE_POW, test.NMS_THRESH, test.CONTRASTIVE_RULE)


def _to_moments(
    moments: list[list[float]], scores: list[float], contrastive: list[float], iou: list[float]
) -> tuple[LocalizedMoment, ...]:
    """One query's kept moments; scores of 0 are places that were left empty."""
    columns = zip(moments, scores, contrastive, iou, strict=True)
    return tuple(LocalizedMoment(*moment, *values) for moment, *values in columns if values[0] > 0)
