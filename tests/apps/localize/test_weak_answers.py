"""What is said before moments of which none fits well."""

import pytest

from mmn.apps.localize.results import LocalizedMoment, QueryResult
from mmn.apps.localize.weak_answers import LEAST_CONFIDENCE, LEAST_IOU, weak_answer


def moment(iou, score=0.01):
    return LocalizedMoment(1.0, 2.0, score, 0.1, iou)


@pytest.mark.parametrize(
    "ious, confidence, is_weak",
    [
        ([LEAST_IOU / 2, LEAST_IOU / 3], None, True),
        ([LEAST_IOU / 2, LEAST_IOU], None, False),  # the second may be the one
        ([0.9], LEAST_CONFIDENCE - 0.01, True),  # a calibration knows better than the score
        ([0.01], LEAST_CONFIDENCE, False),
        ([], None, False),
    ],
)
def test_confidence_decides_and_without_it_the_expected_overlap(ious, confidence, is_weak):
    assert bool(weak_answer([moment(iou) for iou in ious], confidence)) == is_weak


def test_sentence_says_what_the_score_means():
    sentence = weak_answer([moment(0.004, 0.003), moment(0.02, 0.001)])
    assert "the best score is 0.00" in sentence and "overlap (IoU) of at most 0.02" in sentence


def test_printed_table_follows_the_sentence(monkeypatch):
    from mmn.apps.localize import found_files

    class Video:
        name, duration, windows = "walk", 9.0, [(0, 9)]

    results = [QueryResult("a man", (moment(0.01),)), QueryResult("a dog", (moment(0.7),))]
    lines = found_files.format_results(Video, results).split("\n")
    for query, is_weak in (("a man", True), ("a dog", False)):
        below = lines[lines.index(query) + 1]
        assert below.startswith("Nothing fits well") == is_weak
    assert sum("| 1 |" in line for line in lines) == 2
