"""Word sets, near duplicates, and the chance of meeting one in a batch."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.probes.similar_sentences import SentenceIndex, chance_in_batch, count_like_videos, highest_overlaps, words
from mmn.data.annotations import VideoAnnotation

sentences = st.lists(st.lists(st.sampled_from("abcdef"), max_size=5).map(" ".join), min_size=1, max_size=8)


def naive_jaccard(one, other):
    one, other = set(words(one)), set(words(other))
    return len(one & other) / len(one | other) if one | other else 0.0


def make_videos(groups):
    return [
        VideoAnnotation(f"v{number}", 10.0, list(group), np.tile(np.float32([0, 5]), (len(group), 1, 1)))
        for number, group in enumerate(groups)
    ]


@given(sentences, sentences)
def test_overlaps_are_the_naive_jaccard(some, references):
    wanted = [[naive_jaccard(one, other) for other in references] for one in some]
    assert np.array(list(SentenceIndex(references).overlaps(some))) == pytest.approx(np.array(wanted))
    assert highest_overlaps(some, references) == pytest.approx([max(row) for row in wanted])


def test_case_and_punctuation_do_not_count():
    assert highest_overlaps(["A person opens the door."], ["the door, a person opens"]) == [1]


@given(st.lists(sentences, min_size=1, max_size=4), st.sampled_from([0.4, 0.7, 1.0]))
def test_like_videos_are_counted_as_by_loops(groups, threshold):
    flat = [(number, sentence) for number, group in enumerate(groups) for sentence in group]
    wanted = [
        len({other for other, text in flat if other != number and naive_jaccard(sentence, text) >= threshold})
        for number, sentence in flat
    ]
    assert count_like_videos(make_videos(groups), [threshold]).tolist() == [wanted]


def test_sentence_of_the_same_video_is_no_false_negative():
    assert count_like_videos(make_videos([["a b", "a b"], ["c d"]]), [1.0]).tolist() == [[0, 0, 0]]


@given(st.integers(2, 7), st.integers(1, 8), st.data())
def test_chance_is_the_share_of_all_batches(num_videos, batch_size, data):
    like = data.draw(st.integers(0, num_videos - 1))
    others = range(num_videos - 1)  # of which the first `like` are alike
    batches = list(itertools.combinations(others, min(batch_size, num_videos) - 1))
    wanted = sum(any(video < like for video in batch) for batch in batches) / len(batches)
    assert chance_in_batch(np.array([like]), num_videos, batch_size)[0] == pytest.approx(wanted)
