"""Recall and ranks over the moments of all videos of a split, against a list made the slow way."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmn.apps.corpus.corpus_recall import (
    NOT_LISTED,
    THRESHOLDS,
    Answers,
    Corpus,
    Listing,
    Queries,
    Ranks,
    encode_split,
    find_answers,
    find_repeats,
    rank_corpus,
    recall_names,
    score_ranks,
    spoken,
)
from mmn.apps.corpus.evaluated_rules import EVALUATED, PRODUCT_OF_ALL
from mmn.apps.search.ranking_rules import RULES
from mmn.data.annotations import VideoAnnotation
from mmn.data.splits import Splits
from mmn.structures.moments import cell_moments
from mmn.structures.proposals import ProposalCells

CELLS = ProposalCells(8, [7])
LISTING = Listing(power=0.5, nms_threshold=0.5, per_video=2, length=12)
SMALL = {**EVALUATED, "rerank": replace(RULES["rerank"], depth=40), "product": replace(RULES["product"], depth=25)}


def video(video_id, *moments, duration=10.0):
    """An annotation from (sentence, start, end)."""
    bounds = np.array([bound for _, *bound in moments], dtype=np.float32).reshape(-1, 2)
    return VideoAnnotation(video_id, duration, [sentence for sentence, *_ in moments], bounds[:, None])


VIDEOS = [
    video("a", ("A man runs.", 0, 5), ("a man  runs", 6, 9), ("He sits", 1, 2)),
    video("b", ("he sits .", 3, 8), ("Somebody sings.", 0, 10)),
    video("c", ("A dog barks", 2.5, 4)),
    video("d", ("A MAN RUNS", 0, 3), ("It ends here", 4.2, 4.4)),
    video("e", ("Nothing else", 0, 7)),
]


@pytest.fixture
def corpus():
    moments = cell_moments(CELLS, torch.full((len(VIDEOS),), 10.0))
    heads = (F.normalize(torch.randn(len(VIDEOS), len(CELLS), 6), dim=-1).half() for _ in range(2))
    return Corpus(moments, *heads)


@pytest.fixture
def queries():
    answers = find_answers(VIDEOS)
    heads = (F.normalize(torch.randn(len(answers), 6), dim=-1) for _ in range(2))
    return Queries(*heads, answers, find_repeats(VIDEOS))


def iou(a, b):
    overlap, hull = min(a[1], b[1]) - max(a[0], b[0]), max(a[1], b[1]) - min(a[0], b[0])
    return max(overlap, 0) / hull


def slow_list(rule, corpus, queries, query):
    """All moments (video, (start, end)) in the order of the rule, then those that NMS leaves, at most 2 of a video."""
    rows = []
    for place in range(corpus.num_videos):
        for cell in range(len(CELLS)):
            match = float(queries.contrastive[query].double() @ corpus.contrastive[place, cell].double())
            fit = float(queries.iou[query].double() @ corpus.iou[place, cell].double())
            rows.append((place, corpus.moments[place, cell].tolist(), match, fit))
    kind = "product" if rule.kind == "product" else rule.head
    rows.sort(key=lambda row: -row[3] if kind == "iou" else -row[2])
    depth = rule.depth if rule.depth else len(rows) if kind == "product" else 0
    first = rows[:depth]

    def product(row, power):
        return ((row[2] + 1) / 2) ** power / (1 + math.exp(-10 * row[3]))

    def score(row):
        if kind == "product":
            return product(row, 0.5)
        own = [other for other in first if other[0] == row[0]]
        soft = 0.05 * math.log(sum(math.exp(other[2] / 0.05) for other in own) / len(first))
        return (soft + 1) / 2 * product(row, 16) / max(product(other, 16) for other in own)

    rows = sorted(first, key=score, reverse=True) + rows[depth:]
    kept = []
    for place, moment, *_ in rows:
        own = [other for owner, other in kept if owner == place]
        if all(iou(moment, other) <= 0.5 for other in own) and len(own) < 2:
            kept.append((place, moment))
    return [row[:2] for row in rows], kept[: LISTING.length]


def right_answers(query):
    """[(video, moment)] by reading the annotations."""
    sentences = [
        (place, text, moment)
        for place, v in enumerate(VIDEOS)
        for text, moment in zip(v.sentences, v.moments, strict=True)
    ]
    said = [" ".join(text.lower().replace(".", "").split()) for _, text, _ in sentences]
    return [(place, moment) for (place, _, moment), text in zip(sentences, said, strict=True) if text == said[query]]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_ranks_are_those_of_lists_made_one_by_one(corpus, queries, name):
    ranks = rank_corpus(corpus, queries, [SMALL[name]], LISTING)[name]
    for query in range(len(queries)):
        order, kept = slow_list(SMALL[name], corpus, queries, query)
        answers = right_answers(query)
        videos = list(dict.fromkeys(place for place, _ in order))
        assert ranks.video[query] == 1 + min(videos.index(place) for place, _ in answers)
        for column, threshold in enumerate(THRESHOLDS):
            is_right = [
                [any(place == p and iou(moment, m) >= threshold for p, m in answers) for place, moment in listed]
                for listed in (kept, order)
            ]
            place = is_right[0].index(True) + 1 if any(is_right[0]) else NOT_LISTED
            assert ranks.listed[query, column] == place
            overall = is_right[1].index(True) + 1 if any(is_right[1]) else math.nan
            np.testing.assert_equal(ranks.overall[query, column], overall)


def test_size_of_blocks_changes_nothing(corpus, queries):
    at_once = rank_corpus(corpus, queries, SMALL.values(), LISTING)
    one_by_one = rank_corpus(corpus, queries, SMALL.values(), LISTING, block=1)
    for name, ranks in at_once.items():
        for field in ("video", "listed", "overall"):
            np.testing.assert_array_equal(getattr(one_by_one[name], field), getattr(ranks, field))


def test_rule_that_takes_all_moments_for_candidates_is_the_product_of_all(corpus, queries):
    rules = [replace(RULES["product"], depth=10**6), PRODUCT_OF_ALL]
    some, every = rank_corpus(corpus, queries, rules, LISTING).values()
    np.testing.assert_array_equal(some.listed, every.listed)
    np.testing.assert_array_equal(some.video, every.video)


def test_ties_count_against_the_right_one(queries):
    moments = cell_moments(CELLS, torch.full((len(VIDEOS),), 10.0))
    same = F.normalize(torch.ones(len(VIDEOS), len(CELLS), 6), dim=-1).half()
    ranks = rank_corpus(Corpus(moments, same, same), queries, [RULES["contrastive"]], LISTING)["contrastive"]
    assert (ranks.video == len(VIDEOS)).all()
    assert set(ranks.overall[np.isfinite(ranks.overall)]) == {len(VIDEOS) * len(CELLS)}


@pytest.mark.parametrize(
    ("one", "other"), [("A man  runs.", "a man runs"), (" Stop . ", "STOP"), ("he sits\n", "He sits.")]
)
def test_sentences_are_the_same_but_for_case_spaces_and_full_stop(one, other):
    assert spoken(one) == spoken(other)


def test_other_punctuation_tells_sentences_apart():
    assert spoken("he sits, then runs") != spoken("he sits then runs")


def test_answers_are_all_moments_of_the_sentence_in_any_video():
    answers = find_answers(VIDEOS)
    for query in range(len(answers)):
        there = answers.videos[query] >= 0
        found = zip(answers.videos[query][there].tolist(), answers.moments[query][there].tolist(), strict=True)
        assert list(found) == [(place, moment.tolist()) for place, moment in right_answers(query)]
    assert answers.counts().tolist() == [3, 3, 2, 2, 1, 1, 3, 1, 1]
    assert answers.video_counts().tolist() == [2, 2, 2, 2, 1, 1, 2, 1, 1]


def test_query_in_the_same_letters_as_an_earlier_one_is_ranked_once(corpus):
    videos = [
        video("a", ("He sits", 0, 5), ("he sits", 1, 2)),
        video("b", ("He runs", 0, 1)),
        video("c", ("He sits", 3, 4)),
    ]
    same_as = find_repeats(videos)
    assert same_as.tolist() == [0, 1, 2, 0]
    vectors = F.normalize(torch.randn(4, 6), dim=-1)[same_as]
    queries = Queries(vectors, vectors, find_answers(videos), same_as)
    ranks = rank_corpus(corpus, queries, [RULES["iou"]], LISTING)["iou"]
    alone = rank_corpus(corpus, replace(queries, same_as=torch.arange(4)), [RULES["iou"]], LISTING)["iou"]
    for field in ("video", "listed", "overall"):
        np.testing.assert_array_equal(getattr(ranks, field), getattr(alone, field))


def test_recall_is_the_share_of_queries_whose_rank_is_that_low():
    ranks = Ranks(np.array([1, 5, 11]), np.array([[1, 2], [6, NOT_LISTED], [100, NOT_LISTED]]), np.full((3, 2), np.nan))
    recalls = {name: values.tolist() for name, values in score_ranks(ranks).recalls.items()}
    assert list(recalls) == recall_names()
    assert recalls["video R@1"] == [1, 0, 0] and recalls["video R@5"] == [1, 1, 0] and recalls["video R@100"] == [1] * 3
    assert recalls["R@5,IoU@0.5"] == [1, 0, 0] and recalls["R@10,IoU@0.5"] == [1, 1, 0]
    assert recalls["R@100,IoU@0.5"] == [1, 1, 1] and recalls["R@100,IoU@0.7"] == [1, 0, 0]


def test_queries_without_a_second_answer_have_no_padding_that_counts():
    """An empty place of the answers is no moment from 0 to 0 of the first video."""
    answers = Answers(torch.tensor([[1, -1]]), torch.tensor([[[0.0, 10.0], [0.0, 0.0]]]))
    moments = torch.tensor([[[0.0, 0.0]], [[5.0, 6.0]]])
    vectors = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).half()
    queries = Queries(*(torch.tensor([[1.0, 0.0]]) for _ in range(2)), answers, torch.tensor([0]))
    ranks = rank_corpus(Corpus(moments, vectors, vectors), queries, [RULES["iou"]], LISTING)["iou"]
    assert ranks.video.tolist() == [2]
    assert (ranks.listed == NOT_LISTED).all() and np.isnan(ranks.overall).all()


def test_split_is_encoded_as_an_index_holds_it(tiny_cfg):
    from mmn.data import build_test_loader
    from mmn.data.loaders import build_collator
    from mmn.data.moment_files import build_dataset
    from mmn.data.tokenizer import build_tokenizer
    from mmn.modeling import build_model

    tokenizer = build_tokenizer(tiny_cfg)
    dataset = build_dataset(tiny_cfg, Splits(tiny_cfg).find("synthetic_test"), tokenizer)
    model = build_model(tiny_cfg).eval()
    loader = build_test_loader(tiny_cfg, dataset, build_collator(tiny_cfg, tokenizer))
    cells = ProposalCells(16, [15])
    corpus, queries = encode_split(model, loader, cells, torch.device("cpu"))
    assert corpus.num_videos == len(dataset) and len(queries) == dataset.num_sentences
    for place, annotation in enumerate(dataset.videos):
        with torch.no_grad():
            heads = model.encode_videos(torch.from_numpy(dataset.clips(place))[None])
        for vectors, wanted in zip((corpus.contrastive, corpus.iou), heads, strict=True):
            assert vectors.dtype == torch.float16
            torch.testing.assert_close(vectors[place].float(), wanted[0], atol=2e-3, rtol=0)
        torch.testing.assert_close(corpus.moments[place], cell_moments(cells, torch.tensor([annotation.duration]))[0])
