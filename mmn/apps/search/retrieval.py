"""Retrieval of the ranked moments of a library by query vectors: searched by one head, scored by a rule, thinned out.

Neighbouring moments of a video are nearly equal, so the moments nearest to a query crowd in a few videos, and few of them
are left after suppression. Where too few are, the store is asked for twice as many, for the queries that need it.
Shapes: Q queries, k hits of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mmn.apps.search.index_types import Hits, MomentFilter, VideoMoments
from mmn.apps.search.rank_scores import rank_arrays
from mmn.apps.search.ranking_rules import RankingRule
from mmn.apps.search.suppression import select_moments, video_numbers
from mmn.apps.search.vector_store import EVERYTHING, VectorStore
from mmn.apps.search.whole_videos import (
    FIRST_VIDEOS,
    ScoredMoments,
    WholeMapRule,
    best_places,
    score_videos,
    videos_in_order,
)
from mmn.structures.query_vectors import QueryVectors

FIRST_HITS = 32
"""Hits per moment that is asked for, at first."""
HITS_AT_ONCE = 1_000_000
"""Hits of all queries in one call of the store: so that the memory for them is bounded."""
MOMENTS_KEPT = 200_000
"""Moments of whole videos that are kept from query to query, for the same reason: 200 MB where C is 256."""


@dataclass(frozen=True)
class SearchPlan:
    """The options of a search, checked.

    Attributes:
        rule: moments are ranked by it.
        power: TEST.CONTRASTIVE_SCORE_POW, for the rules that take it.
        top_k: moments per query.
        nms_threshold: an IoU; of two moments of a video above it the better one stays.
        per_video: moments of one video; None for any number.
        where: the moments that are considered.
        exact: compare with every moment, where the store would approximate.
        whole_map: scores the moments of a video in the place of "rerank"'s product; None takes that.
    """

    rule: RankingRule
    power: float
    top_k: int
    nms_threshold: float
    per_video: int | None = None
    where: MomentFilter = EVERYTHING
    exact: bool = False
    whole_map: WholeMapRule | None = None


@dataclass(frozen=True)
class Span:
    """A piece of a video, in seconds."""

    video: str
    start: float
    end: float

    def overlaps(self, videos: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """[...] bool for moments [..., 2] of videos [...]."""
        return (videos == self.video) & (moments[..., 0] < self.end) & (moments[..., 1] > self.start)


@dataclass(frozen=True, eq=False)
class RankedMoments:
    """The n moments of one query, best first.

    Attributes:
        videos: [n] object, ids.
        moments: [n, 2] float32 seconds.
        scores: [n] float32, of the rule; beyond its depth, of the head.
        contrastive, iou: [n] float32, the cosines.
        video_best: [n] float32, the highest contrastive cosine among the hits of each one's video.
        best: the highest contrastive cosine of all hits; -1 where there is none.
        depth: number of hits that these were chosen from.
    """

    videos: np.ndarray
    moments: np.ndarray
    scores: np.ndarray
    contrastive: np.ndarray
    iou: np.ndarray
    video_best: np.ndarray
    best: float
    depth: int


def retrieve(
    store: VectorStore, queries: QueryVectors, plan: SearchPlan, without: Span | None = None
) -> list[RankedMoments]:
    """The moments of Q queries: fewer than `top_k` only where no more pass, or the store gives no more hits.

    They are those of the whole library in this order: the first `depth` hits by the scores of the rule, then all others
    as the head has them. So a longer list begins with the shorter one.

    Args:
        without: moments that overlap it are left out.
    """
    found: list[RankedMoments | None] = [None] * len(queries)
    pending, k, most = np.arange(len(queries)), first_depth(plan), _most_hits(store, plan.where)
    if most and plan.whole_map is not None and plan.rule.kind == "rerank":
        return _retrieve_whole(store, queries, plan, plan.whole_map, without)
    if not most:
        return [_ranked(Hits.empty(1, 0), np.empty((1, 0), np.float32), 0, np.empty(0, np.int64)) for _ in found]
    while len(pending):
        k = min(k, most)
        again = []
        for part in _parts(pending, max(1, HITS_AT_ONCE // k)):
            vectors = QueryVectors(queries.contrastive[part], queries.iou[part])
            hits = store.search(vectors, k, plan.where, plan.rule.head, plan.exact)
            scores, places = _rank(hits, plan, without)
            is_done = (places[:, -1] >= 0) | (hits.counts < k) | (k == most)
            for row in np.flatnonzero(is_done):
                found[part[row]] = _ranked(hits, scores, row, places[row])
            again.append(part[~is_done])
        pending, k = np.concatenate(again), 2 * k
    return found


def _retrieve_whole(
    store: VectorStore, queries: QueryVectors, plan: SearchPlan, rule: WholeMapRule, without: Span | None
) -> list[RankedMoments]:
    """`retrieve` by a rule that needs whole maps: the videos of the nearest moments are read, best first."""
    found: list[RankedMoments | None] = [None] * len(queries)
    pending, k, most = np.arange(len(queries)), first_depth(plan), _most_hits(store, plan.where)
    read: dict[str, VideoMoments] = {}
    while len(pending):
        k = min(k, most)
        again = []
        for part in _parts(pending, max(1, HITS_AT_ONCE // k)):
            vectors = QueryVectors(queries.contrastive[part], queries.iou[part])
            hits = store.search(vectors, k, plan.where, plan.rule.head, plan.exact)
            for row, number in enumerate(part):
                query = vectors.contrastive[row], vectors.iou[row]
                scored, places = _score_whole(store, read, query, videos_in_order(hits, row), plan, rule, without)
                if len(places) == plan.top_k or hits.counts[row] < k or k == most:
                    found[number] = _ranked_whole(scored, places, hits, row)
                else:
                    again.append(number)
                _forget(read)
        pending, k = np.array(again, np.int64), 2 * k
    return found


def _forget(read: dict[str, VideoMoments]) -> None:
    """Drop the videos that were first read until those that are left have at most MOMENTS_KEPT moments."""
    kept = sum(len(video.moments) for video in read.values())
    while kept > MOMENTS_KEPT:
        kept -= len(read.pop(next(iter(read))).moments)


def _score_whole(
    store: VectorStore,
    read: dict[str, VideoMoments],
    query: tuple[np.ndarray, np.ndarray],
    matches: dict[str, float],
    plan: SearchPlan,
    rule: WholeMapRule,
    without: Span | None,
) -> tuple[ScoredMoments, np.ndarray]:
    """The moments of as many of the videos as give enough to list, and the places of those to list.

    Args:
        read: videos that were read before; more are added.
        matches: the videos, best first, see `videos_in_order`.
    """
    count = max(FIRST_VIDEOS, plan.top_k)
    while True:
        names = list(matches)[:count]
        for name in names:
            if name not in read:
                read[name] = store.read(name)
        scored = score_videos(rule, [read[name] for name in names], [matches[name] for name in names], query)
        out = np.zeros(len(scored.scores), bool) if without is None else without.overlaps(scored.videos, scored.moments)
        places = best_places(scored, plan.where, plan.top_k, plan.nms_threshold, plan.per_video, out)
        if len(places) == plan.top_k or count >= len(matches):
            return scored, places
        count *= 2


def _ranked_whole(scored: ScoredMoments, places: np.ndarray, hits: Hits, row: int) -> RankedMoments:
    columns = (scored.videos, scored.moments, scored.scores, scored.contrastive, scored.iou)
    video_best = [scored.contrastive[scored.videos == video].max() for video in scored.videos[places]]
    values = (np.array(video_best, np.float32), float(scored.contrastive.max(initial=-1)), int(hits.counts[row]))
    return RankedMoments(*(column[places] for column in columns), *values)


def first_depth(plan: SearchPlan) -> int:
    """The number of hits that a query is first given."""
    return max(plan.rule.depth, FIRST_HITS * plan.top_k)


def _most_hits(store: VectorStore, where: MomentFilter) -> int:
    """The number of hits that a query can have at most."""
    store.check_known(where.videos)
    known = store.videos()
    entries = known.values() if where.videos is None else [known[video_id] for video_id in set(where.videos)]
    there = sum(entry.num_moments for entry in entries)
    return there if store.max_hits is None else min(there, store.max_hits)


def _parts(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _rank(hits: Hits, plan: SearchPlan, without: Span | None) -> tuple[np.ndarray, np.ndarray]:
    """Scores [Q, k] of all hits, and the places [Q, top_k] of those to keep, as `select_moments` gives them."""
    rule, places = plan.rule, np.arange(hits.videos.shape[1])
    takes_part = places < hits.counts[:, None]
    if without is not None:
        takes_part &= ~without.overlaps(hits.videos, hits.moments)
    numbers = np.where(takes_part, video_numbers(hits.videos), -1)
    scores = rank_arrays(replace(rule, kind=rule.head), hits.contrastive, hits.iou, numbers, plan.power)
    # Below 0: hits beyond the depth follow those within, whose scores are at least 0.
    keys = hits.cosines(rule.head) - 3
    if rule.depth:
        candidates = (part[:, : rule.depth] for part in (hits.contrastive, hits.iou, numbers))
        scores[:, : rule.depth] = keys[:, : rule.depth] = rank_arrays(rule, *candidates, plan.power)
    return scores, select_moments(
        keys, numbers, hits.moments, takes_part, plan.top_k, plan.nms_threshold, plan.per_video
    )


def _ranked(hits: Hits, scores: np.ndarray, row: int, places: np.ndarray) -> RankedMoments:
    kept = places[places >= 0]
    columns = (hits.videos, hits.moments, scores, hits.contrastive, hits.iou)
    cosines = hits.contrastive[row]
    video_best = [cosines[hits.videos[row] == video].max() for video in hits.videos[row, kept]]
    values = (np.array(video_best, np.float32), float(cosines.max(initial=-1)), int(hits.counts[row]))
    return RankedMoments(*(column[row, kept] for column in columns), *values)
