"""Small libraries of random moments, a store that keeps them in memory, and the plain form of searching them."""

import numpy as np
import torch

from mmn.apps.search.index_types import Hits, IndexInfo, VideoMoments
from mmn.apps.search.rank_scores import rank_arrays
from mmn.apps.search.vector_store import EVERYTHING, VectorStore
from mmn.modeling.scoring import final_score
from mmn.structures.query_vectors import QueryVectors


class MemoryStore(VectorStore):
    """The simplest store: a list of videos, compared one by one."""

    name = "memory"

    def __init__(self, info, videos=(), max_hits=None):
        super().__init__("memory", info)
        self.kept = {video.video_id: video for video in videos}
        self.max_hits = max_hits
        self.asked = []  # (queries, k) of every search

    @classmethod
    def create(cls, place, info):
        return cls(info)

    @classmethod
    def open(cls, place):
        raise NotImplementedError

    def write_info(self, info):
        self.info = info

    def refresh(self):
        pass

    def close(self):
        pass

    def videos(self):
        return {name: video.entry for name, video in self.kept.items()}

    def put(self, videos):
        self.kept |= {video.video_id: video for video in videos}

    def remove(self, video_ids):
        for name in video_ids:
            del self.kept[name]

    def read(self, video_id):
        self.check_known([video_id])
        return self.kept[video_id]

    def optimize(self):
        pass

    def search(self, queries, k, where=EVERYTHING, head="contrastive", exact=False):
        self.check_known(where.videos)
        self.asked.append((len(queries), k))
        assert self.max_hits is None or k <= self.max_hits
        hits = Hits.empty(len(queries), k)
        for row in range(len(queries)):
            ranking = whole_ranking(self.kept.values(), queries, row, where, head)[:k]
            hits.counts[row] = len(ranking)
            for place, (video_id, moment, contrastive, iou) in enumerate(ranking):
                hits.videos[row, place] = video_id
                hits.moments[row, place] = moment
                hits.contrastive[row, place], hits.iou[row, place] = contrastive, iou
        return hits


def whole_ranking(videos, queries, row, where=EVERYTHING, head="contrastive"):
    """(video id, moment, contrastive, iou) of every moment that passes, best first by one head."""
    rows = []
    for video in videos:
        if where.videos is not None and video.video_id not in where.videos:
            continue
        both = [video.vectors(name).astype(np.float32) @ queries.vectors(name)[row] for name in ("contrastive", "iou")]
        for passes, moment, *cosines in zip(where.passes(video.moments), video.moments, *both, strict=True):
            if passes:
                rows.append((video.video_id, moment, *cosines))
    return sorted(rows, key=lambda entry: -entry[2 if head == "contrastive" else 3])


def plain_order(ranking, rule, power):
    """(video id, moment, score) of a whole ranking: the first `depth` by the rule, then the others as they are."""
    if not ranking:
        return []
    names = [name for name, *_ in ranking]
    cosines = [np.array([[entry[place] for entry in ranking]], np.float32) for place in (2, 3)]
    numbers = np.array([[names.index(name) for name in names]])
    depth = rule.depth or len(ranking)
    within = rank_arrays(rule, *(part[:, :depth] for part in (*cosines, numbers)), power)[0]
    beyond = final_score(*map(torch.from_numpy, cosines), power, rule.head)[0].numpy() if rule.depth else within
    scored = [(name, moment, (within if n < depth else beyond)[n]) for n, (name, moment, *_) in enumerate(ranking)]
    return sorted(scored[:depth], key=lambda entry: -entry[2]) + scored[depth:]


def plain_select(ordered, top_k, nms_threshold, per_video=None):
    """Those of (video id, moment, score), best first, that stay."""
    kept = []
    for name, moment, value in ordered:
        own = [other for other_name, other, _ in kept if other_name == name]
        if len(kept) == top_k or (per_video is not None and len(own) == per_video):
            continue
        if all(plain_iou(moment, other) <= nms_threshold for other in own):
            kept.append((name, moment, value))
    return kept


def plain_search(videos, queries, row, plan):
    """What a search by a `SearchPlan` finds for one query: (video id, moment, score), best first."""
    ranking = whole_ranking(videos, queries, row, plan.where, plan.rule.head)
    return plain_select(plain_order(ranking, plan.rule, plan.power), plan.top_k, plan.nms_threshold, plan.per_video)


def plain_iou(a, b):
    overlap = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return overlap / hull if hull > 0 else 0.0


def unit_rows(generator, *shape):
    rows = generator.standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_library(num_videos, num_clips=6, dim=8, seed=0, crowding=0.7):
    """Videos of all moments of `num_clips` clips. With crowding, moments of a video are alike, as real ones are."""
    generator = np.random.default_rng(seed)
    starts, ends = np.triu_indices(num_clips)
    videos = []
    for number in range(num_videos):
        duration = float(generator.uniform(10, 60))
        moments = (np.stack([starts, ends + 1], axis=1) * duration / num_clips).astype(np.float32)
        vectors = []
        for _ in range(2):
            rows = crowding * unit_rows(generator, dim) + (1 - crowding) * unit_rows(generator, len(moments), dim)
            vectors.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16))
        videos.append(VideoMoments(f"video_{number}", duration, moments, *vectors, path=f"videos/{number}.mp4"))
    return videos


def random_queries(num_queries, dim=8, seed=1):
    generator = np.random.default_rng(seed)
    return QueryVectors(unit_rows(generator, num_queries, dim), unit_rows(generator, num_queries, dim))


def memory_store(videos, model="", max_hits=None, **info):
    return MemoryStore(IndexInfo(videos[0].contrastive.shape[1], model, "a model", **info), videos, max_hits)
