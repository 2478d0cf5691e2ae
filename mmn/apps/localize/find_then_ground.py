"""The search in a video of many windows: find those that a query may be about, then ground it inside and across them.

Only the contrastive head saw moments of other videos in training; the IoU head tells those of one video apart. So

1. windows are found by their best contrastive cosine, over a few cells of each map: reading all would take long;
2. in those, every moment gets the score of the model's rule, the contrastive head's share in it being raised to a power
   at which it decides between windows and the IoU head inside one;
3. the best moments are asked about in every window that holds them: a moment's score is the mean, over these windows, of
   the score of the cell that fits it best there times the IoU of both. A window that was not found counts as 0.

Then they compete in one suppression. The figures behind it are in docs/LONG_VIDEO.md. U counts queries, K windows found, n
candidates; otherwise see the legend in `mmn.modeling`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from mmn.apps.localize.encoded_video import EncodedVideo
from mmn.apps.localize.results import LocalizedMoment
from mmn.apps.localize.scoring_rule import MomentScores, ScoringRule
from mmn.evaluation.inference import refuse_nan
from mmn.modeling.match_rules import COSINE
from mmn.structures.moments import temporal_iou
from mmn.structures.proposals import ProposalCells

CONTRASTIVE_POWER = 16.0  # between windows, as between the videos of a library (docs/SEARCH_DESIGN.md)
QUERIES_AT_ONCE = WINDOWS_AT_ONCE = 16
TOLERANCE = 0.05  # clips that a moment may reach beyond a window that holds it: seconds of long videos are rounded


def across_windows(rule: ScoringRule) -> ScoringRule:
    """The rule by which moments of different windows are compared, from that of one video."""
    return replace(rule, contrastive_power=max(rule.contrastive_power, CONTRASTIVE_POWER))


def finder_cells(cells: ProposalCells) -> Tensor:
    """[F] int64, the cells of a map that windows are found by: those whose bounds both lie between pairs of clips."""
    even = (cells.rows % 2 == 0) & (cells.cols % 2 == 1)
    return even.nonzero()[:, 0] if even.any() else torch.arange(len(cells))


@dataclass(frozen=True)
class FindThenGround:
    """The search of a video that has several windows.

    Attributes:
        rule: scores of moments, see `across_windows`.
        cells: the model's proposal map.
        max_cells: cells that are read per query; as many windows are found as have so many, and at least `min_windows`.
        min_candidates, per_result: candidates per query, at least, and per moment that is asked for.
        asks_all: whether candidates are asked about in every window that holds them; otherwise a moment keeps its score.
    """

    rule: ScoringRule
    cells: ProposalCells
    max_cells: int = 2**15
    min_windows: int = 32
    min_candidates: int = 128
    per_result: int = 32
    asks_all: bool = True

    def best_moments(
        self, video: EncodedVideo, contrastive: Tensor, iou: Tensor, top_k: int
    ) -> list[tuple[LocalizedMoment, ...]]:
        """The best moments of each of U queries, best first.

        Args:
            contrastive, iou: [U, C] the queries' vectors.
            top_k: moments per query at most.
        """
        contrastive, iou = contrastive.to(video.finder.device), iou.to(video.finder.device)
        found = torch.cat([self.find(video.finder, part) for part in contrastive.split(QUERIES_AT_ONCE)])
        return [self.ground(video, *query, top_k) for query in zip(found, contrastive, iou, strict=True)]

    def find(self, finder: Tensor, contrastive: Tensor) -> Tensor:
        """The windows with the best cosines of `finder` [W, F, C] with U queries -> [U, K] int64, in order."""
        count = min(len(finder), max(self.min_windows, self.max_cells // len(self.cells)))
        cosines = (contrastive @ finder.flatten(0, 1).mT).unflatten(1, finder.shape[:2])
        refuse_nan(cosines)
        return cosines.amax(dim=2).topk(count).indices.sort().values

    def ground(
        self, video: EncodedVideo, windows: Tensor, contrastive: Tensor, iou: Tensor, top_k: int
    ) -> tuple[LocalizedMoment, ...]:
        """The best moments of one query, from its vectors [C] and the windows [K] that were found for it."""
        numbers = windows.tolist()
        cosines = (
            window_cosines(video, vectors, numbers, query)[None]
            for vectors, query in ((video.moments_contrastive, contrastive), (video.moments_iou, iou))
        )
        scores = MomentScores(*(part[0] for part in self.rule.score_moments(*cosines, self.cells)))  # [K, M] each
        refuse_nan(scores.final)
        count = min(scores.final.numel(), max(self.min_candidates, self.per_result * top_k))
        places = scores.final.flatten().topk(count).indices
        moments = video.moments[windows].flatten(0, 1)[places]
        chosen = [part.flatten()[places] for part in scores]
        if self.asks_all:
            chosen[-1] = self.mean_scores(video, windows, moments, scores.final)
        return self.rule.best_moments(moments[None], MomentScores(*(part[None, None] for part in chosen)), top_k)[0]

    def mean_scores(self, video: EncodedVideo, windows: Tensor, moments: Tensor, final: Tensor) -> Tensor:
        """The mean score of n moments over all windows that hold them.

        Args:
            windows: [K] those found.
            moments: [n, 2] seconds.
            final: [K, M] the scores of their cells.
        Returns:
            [n]
        """
        clips = (video.bounds[:, 1] - video.bounds[:, 0]) / self.cells.num_clips
        begins = moments[:, None, 0] >= video.bounds[:, 0] - TOLERANCE * clips
        holds = begins & (moments[:, None, 1] <= video.bounds[:, 1] + TOLERANCE * clips)  # [n, W]
        rows, places = holds[:, windows].nonzero(as_tuple=True)
        window = windows[places]
        bounds = (moments[rows] - video.bounds[window, :1]) / clips[window, None]
        first, last = (bounds.round().long() - torch.tensor([0, 1], device=bounds.device)).unbind(dim=1)
        last = last.clamp(0, self.cells.num_clips - 1)
        first = torch.minimum(first.clamp(min=0), last)
        cell = nearest_cells(self.cells).to(final.device)[first, last]
        agreement = final[places, cell] * temporal_iou(moments[rows], video.moments[window, cell])
        return final.new_zeros(len(moments)).index_add(0, rows, agreement) / holds.sum(dim=1).clamp(min=1)


def window_cosines(video: EncodedVideo, vectors: Tensor, windows: Sequence[int], query: Tensor) -> Tensor:
    """Cosines of a query [C] with the cells of K windows, of a video's vectors [W, M, C] -> [K, M].

    One by one: gathering their vectors would cost more than the products. What was read of files is given back on the
    way, since a system may map megabytes around what it is asked for.
    """
    rows = []
    for place, number in enumerate(windows, start=1):
        rows.append(vectors[number] @ query)
        if place % WINDOWS_AT_ONCE == 0 or place == len(windows):
            video.let_go()
    return torch.stack(rows)


def find_then_ground(rule: ScoringRule, cells: ProposalCells) -> FindThenGround:
    """The search by a model whose moments `rule` scores in one video.

    Windows are not asked where a score compares the clips of a moment with the others of its window (the rules of a dual
    encoder): then it is another quantity in windows of another length, and its mean is of no use.
    """
    return FindThenGround(across_windows(rule), cells, asks_all=rule.match == COSINE)


@lru_cache(maxsize=8)
def nearest_cells(cells: ProposalCells) -> Tensor:
    """[N, N] int64: the valid cell whose moment has the highest IoU with that from clip i to clip j, i <= j."""
    clips = torch.arange(cells.num_clips, dtype=torch.float32)
    valid = torch.stack([cells.rows, cells.cols + 1], dim=1).float()
    rows = (torch.stack([start.expand(len(clips)), clips + 1], dim=1) for start in clips)
    return torch.stack([temporal_iou(row[:, None], valid).argmax(dim=1) for row in rows])
