"""Retrieval for a model whose rule compares a moment with the rest of its video (`mmn.modeling.match_rules`).

Such a rule needs the cosines of all of a video's clips, which the store holds as the diagonal of each window's map. So the
nearest moments only choose videos; those are read whole, and the rule orders their moments. Shapes: K moments of the read
videos, all cells of all their windows.
"""

from dataclasses import dataclass

import numpy as np
import torch

from mmn.apps.search.index_types import Hits, MomentFilter, VideoMoments
from mmn.apps.search.rank_scores import number_groups, soft_maximum
from mmn.apps.search.suppression import select_moments, video_numbers
from mmn.modeling.match_rules import MATCH_RULES
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import ConfigError

FIRST_VIDEOS = 20
"""Videos that are read for a query at first."""


@dataclass(frozen=True)
class WholeMapRule:
    """A rule that needs whole maps.

    Attributes:
        name: a key of MATCH_RULES, other than the released one.
        cells: the model's proposal map.
    """

    name: str
    cells: ProposalCells

    def scores(self, video: VideoMoments, cosines: np.ndarray) -> np.ndarray:
        """A query's cosines [K] with a video's moments -> scores [K] in [0, 1].

        Raises ConfigError where the video has not all cells of every window.
        """
        if len(cosines) % len(self.cells):
            raise ConfigError(
                f"the index lacks some of the moments of {video.video_id}, so that the rule {self.name} cannot compare "
                "them with the rest: build it without --prune"
            )
        windows = torch.from_numpy(cosines).view(1, -1, len(self.cells))
        return MATCH_RULES[self.name](windows, self.cells).flatten().numpy()


@dataclass(frozen=True, eq=False)
class ScoredMoments:
    """The K moments of the videos that one query is searched in: scores, and columns as in `RankedMoments`."""

    scores: np.ndarray
    videos: np.ndarray
    moments: np.ndarray
    contrastive: np.ndarray
    iou: np.ndarray


def videos_in_order(hits: Hits, row: int) -> dict[str, float]:
    """The videos among a query's hits, best first, each with the soft maximum of its hits' contrastive cosines."""
    count = int(hits.counts[row])
    names, cosines = hits.videos[row, :count], torch.from_numpy(hits.contrastive[row : row + 1, :count])
    groups = number_groups(torch.from_numpy(video_numbers(names[None])))
    values = soft_maximum(cosines, groups).gather(1, groups)[0].tolist() if count else []
    by_video = dict(zip(names.tolist(), values, strict=True))
    return dict(sorted(by_video.items(), key=lambda item: -item[1]))


def score_videos(
    rule: WholeMapRule, videos: list[VideoMoments], matches: list[float], query: tuple[np.ndarray, np.ndarray]
) -> ScoredMoments:
    """All moments of some videos, scored as the rule "rerank" does (`rank_scores`), with this rule in the product's place.

    Args:
        matches: the videos' soft maxima.
        query: its vectors (contrastive, iou), [C] each.
    """
    columns: list[tuple[np.ndarray, ...]] = []
    for video, match in zip(videos, matches, strict=True):
        contrastive, iou = video.contrastive.astype(np.float32) @ query[0], video.iou.astype(np.float32) @ query[1]
        fits = rule.scores(video, contrastive)
        share = fits / max(float(fits.max()), np.finfo(np.float32).tiny)
        scores = np.float32(np.clip((match + 1) / 2, 0, 1)) * share
        columns.append((scores, np.full(len(scores), video.video_id, object), video.moments, contrastive, iou))
    return ScoredMoments(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))


def best_places(
    scored: ScoredMoments, where: MomentFilter, top_k: int, nms_threshold: float, per_video: int | None, out: np.ndarray
) -> np.ndarray:
    """Places among the K moments of those to list, best first; `out` [K] bool are left out."""
    takes_part = (where.passes(scored.moments) & ~out & (scored.scores > 0))[None]
    numbers = video_numbers(scored.videos[None])
    columns = scored.scores[None], numbers, scored.moments[None], takes_part
    places = select_moments(*columns, top_k, nms_threshold, per_video)[0]
    return places[places >= 0]
