"""Searching deeper until there are enough moments, against the whole ranking."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moment_library import memory_store, plain_search, random_library, random_queries

from mmn.apps.search import retrieval
from mmn.apps.search.index_types import MomentFilter
from mmn.apps.search.ranking_rules import RULES, RankingRule
from mmn.apps.search.retrieval import SearchPlan, Span, retrieve
from mmn.apps.search.whole_videos import WholeMapRule
from mmn.structures.proposals import ProposalCells

POWER = 0.5


def plan_of(rule, top_k=5, nms_threshold=0.5, **others):
    return SearchPlan(rule if isinstance(rule, RankingRule) else RULES[rule], POWER, top_k, nms_threshold, **others)


def listed(found):
    return [(name, tuple(moment), pytest.approx(score, abs=1e-5)) for name, moment, score in found]


def listed_ranked(ranked):
    return list(zip(ranked.videos, map(tuple, ranked.moments), ranked.scores, strict=True))


FILTERS = st.sampled_from(
    [{}, {"videos": ["video_1", "video_2"]}, {"min_length": 9.0}, {"videos": ["video_0"], "max_length": 12.0}]
)
OPTIONS = st.fixed_dictionaries(
    {
        "top_k": st.integers(1, 12),
        "nms_threshold": st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        "per_video": st.sampled_from([None, 1, 2]),
        "where": FILTERS.map(lambda values: MomentFilter(**values)),
    }
)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 999),
    name=st.sampled_from(["contrastive", "iou", "product", "rerank"]),
    depth=st.integers(1, 20),
    options=OPTIONS,
)
def test_search_finds_what_the_whole_ranking_has(seed, name, depth, options, first_hits):
    videos, queries = random_library(4, num_clips=4, seed=seed), random_queries(3, seed=seed + 1)
    rule = replace(RULES[name], depth=min(depth, RULES[name].depth))
    plan = plan_of(rule, **options)
    for row, found in enumerate(retrieve(memory_store(videos), queries, plan)):
        assert listed(plain_search(videos, queries, row, plan)) == listed_ranked(found)


@pytest.fixture(scope="module", params=[1, 32])
def first_hits(request):
    """Few first hits make every search go deeper."""
    patch = pytest.MonkeyPatch()
    patch.setattr(retrieval, "FIRST_HITS", request.param)
    yield
    patch.undo()


def test_only_queries_that_need_it_are_searched_deeper(monkeypatch):
    monkeypatch.setattr(retrieval, "FIRST_HITS", 2)
    videos = random_library(6, seed=3)
    queries = random_queries(2)
    alone = videos[0].contrastive[0].astype(np.float32)
    queries.contrastive[0] = alone / np.linalg.norm(alone)  # its hits crowd in video 0
    store = memory_store(videos)
    found = retrieve(store, queries, plan_of("contrastive", top_k=3, per_video=1))
    assert [len(ranked.videos) for ranked in found] == [3, 3]
    assert store.asked[0] == (2, 6)
    assert [k for _, k in store.asked] == [6 * 2**turn for turn in range(len(store.asked))]
    assert store.asked[-1][0] == 1
    assert found[0].depth > found[1].depth


def test_search_ends_where_nothing_is_left():
    videos = random_library(3, num_clips=4)
    store = memory_store(videos)
    (ranked,) = retrieve(store, random_queries(1), plan_of("contrastive", top_k=50, per_video=1))
    assert sorted(ranked.videos) == ["video_0", "video_1", "video_2"]
    assert store.asked == [(1, 30)]  # all moments there are: one search tells


def test_no_more_hits_are_asked_for_than_the_store_gives():
    videos = random_library(3, num_clips=4)
    store = memory_store(videos, max_hits=7)
    (ranked,) = retrieve(store, random_queries(1), plan_of("contrastive", top_k=50, per_video=1))
    assert ranked.depth == 7
    assert store.asked == [(1, 7)]


def test_many_queries_go_in_parts(monkeypatch):
    monkeypatch.setattr(retrieval, "HITS_AT_ONCE", 80)
    videos, queries = random_library(4, num_clips=4), random_queries(5)
    store = memory_store(videos)
    plan = plan_of("contrastive", top_k=3)
    parts = retrieve(store, queries, plan)
    assert [queries for queries, _ in store.asked[:3]] == [2, 2, 1]
    for row, found in enumerate(parts):
        assert listed(plain_search(videos, queries, row, plan)) == listed_ranked(found)


def test_whole_maps_of_many_queries_go_in_parts_and_few_videos_are_kept(monkeypatch, first_hits):
    videos, queries, score, kept = random_library(9, num_clips=4), random_queries(6), retrieval._score_whole, []
    monkeypatch.setattr(retrieval, "FIRST_VIDEOS", 2)
    plan = plan_of("rerank", top_k=3, per_video=1, whole_map=WholeMapRule("mean", ProposalCells(4, [3])))
    wanted = retrieve(memory_store(videos), queries, plan)
    monkeypatch.setattr(retrieval, "HITS_AT_ONCE", 1)
    monkeypatch.setattr(retrieval, "MOMENTS_KEPT", 40)
    monkeypatch.setattr(
        retrieval, "_score_whole", lambda store, read, *rest: kept.append(len(read)) or score(store, read, *rest)
    )
    store = memory_store(videos)
    for one, other in zip(wanted, retrieve(store, queries, plan), strict=True):
        assert listed_ranked(one) == listed_ranked(other)
    assert {queries for queries, _ in store.asked} == {1}
    assert max(kept) == 4


def test_moments_that_overlap_the_example_are_left_out():
    videos, queries = random_library(3, num_clips=4), random_queries(1)
    length = videos[0].duration / 4
    without = Span("video_0", length * 1.5, length * 2)
    (ranked,) = retrieve(memory_store(videos), queries, plan_of("contrastive", 50, 1.0), without)
    found = sorted((name, *moment) for name, moment, _ in listed_ranked(ranked))
    wanted = [(video.video_id, *moment) for video in videos for moment in video.moments]
    wanted = [
        (name, start, end)
        for name, start, end in wanted
        if name != "video_0" or end <= length * 1.5 or start >= length * 2
    ]
    assert found == sorted(wanted)
    assert len(found) < sum(len(video.moments) for video in videos)


def test_library_without_videos_has_no_moments():
    store = memory_store(random_library(1))
    store.remove(["video_0"])
    (ranked,) = retrieve(store, random_queries(1), plan_of("contrastive"))
    assert len(ranked.videos) == len(ranked.moments) == ranked.depth == 0
    assert store.asked == []


def test_longer_list_begins_with_the_shorter_one():
    videos, queries = random_library(5, num_clips=5), random_queries(2)
    rule = replace(RULES["product"], depth=6)
    lists = [retrieve(memory_store(videos), queries, plan_of(rule, top_k=top_k)) for top_k in (2, 20)]
    for short, long in zip(*lists, strict=True):
        assert listed_ranked(long)[:2] == listed_ranked(short)
