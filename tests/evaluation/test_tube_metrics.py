"""The metrics of tubes, and prediction files scored without a model."""

import json

import pytest
import torch

from mmn.data.tube_annotations import TubeAnnotation, annotation_entry, tube_entry, write_entries
from mmn.evaluation.tube_metrics import (
    format_tube_examples,
    score_tube_file,
    score_tubes,
    tube_ious,
    tube_metrics,
    tube_sums,
)
from mmn.structures.tubes import Tubes
from mmn.utils.errors import DataError


def boxes(first_frame, length, shift=0.0):
    box = torch.tensor([0.0, 0.0, 9.0, 9.0]) + torch.tensor([shift, 0.0, shift, 0.0])
    return Tubes(torch.tensor([first_frame]), torch.tensor([length]), box.repeat(length, 1))


def test_metrics_of_four_sentences():
    truth = boxes(10, 10)
    # Exact; half of the frames; the whole time but half of the box beside it; another time.
    pieces = [truth, boxes(10, 5), boxes(10, 10, shift=5.0), boxes(30, 5)]
    spatial, temporal = tube_ious(pieces, [truth] * 4)
    assert spatial.tolist() == pytest.approx([1, 0.5, 1 / 3, 0])
    assert temporal.tolist() == [1, 0.5, 1, 0]
    metrics = tube_metrics(tube_sums(spatial, temporal, (0.3, 0.5)), (0.3, 0.5))
    # An IoU of exactly 0.5 is not above 0.5.
    wanted = {
        "R@1,IoU@0.3": 0.75,
        "R@1,IoU@0.5": 0.25,
        "Best_R1": 0.5,
        "m_vIoU": (1 + 0.5 + 1 / 3) / 4,
        "m_tIoU": 0.625,
    }
    assert metrics == pytest.approx(wanted)


def test_process_without_a_video_adds_nothing():
    assert tube_sums(*tube_ious([], []), (0.3, 0.5)).tolist() == [0, 0, 0, 0, 0]


# ---- Prediction files ------------------------------------------------------------------------------------------------

VIDEOS = [TubeAnnotation("a.mp4", "she sits", boxes(10, 10)), TubeAnnotation("b.mp4", "he runs", boxes(0, 4))]
PREDICTED = {"a.mp4": boxes(10, 5), "b.mp4": boxes(0, 4)}


@pytest.fixture
def files(tmp_path):
    """(predictions, annotations), paths."""
    predictions, annotations = str(tmp_path / "predictions.json"), str(tmp_path / "truth.json")
    write_entries(predictions, {video: tube_entry(tube) for video, tube in PREDICTED.items()})
    write_entries(annotations, {video.video_id: annotation_entry(video) for video in VIDEOS})
    return predictions, annotations


def test_file_is_scored_without_a_model(files, capsys):
    score_tube_file(*files, (0.3, 0.5), num_examples=2)
    output = capsys.readouterr().out
    assert "R@1,IoU@0.3 | R@1,IoU@0.5 | Best_R1 | m_vIoU | m_tIoU" in output
    assert "100.00      | 50.00       | 75.00   | 75.00  | 75.00" in output
    assert "a.mp4: 'she sits'\n    truth frames 10-19, predicted 10-14  vIoU 0.50  tIoU 0.50" in output


def test_examples_are_spread_over_the_split():
    many = [TubeAnnotation(f"{number}.mp4", "a", boxes(0, 3)) for number in range(9)]
    text = format_tube_examples({video.video_id: boxes(0, 3) for video in many}, many, 3)
    assert [line.split(":")[0] for line in text.splitlines()[::2]] == ["0.mp4", "4.mp4", "8.mp4"]


def test_video_without_a_prediction_is_named():
    with pytest.raises(DataError, match=r"p.json lacks 1 of the 2 videos of t.json \(b.mp4\)"):
        score_tubes({"a.mp4": PREDICTED["a.mp4"]}, VIDEOS, (0.3, 0.5), "p.json", "t.json")


def test_video_without_a_prediction_counts_as_wrong_where_that_is_asked_for():
    only = {"a.mp4": PREDICTED["a.mp4"]}
    half = score_tubes(only, VIDEOS, (0.3,), "p.json", "t.json", missing_as_wrong=True)
    alone = score_tubes(only, VIDEOS[:1], (0.3,), "p.json", "t.json")
    assert half == {name: value / 2 for name, value in alone.items()}


def test_prediction_for_a_video_that_is_not_of_the_split_is_refused():
    with pytest.raises(DataError, match=r"1 of the 2 videos of p.json are not in t.json \(b.mp4\)"):
        score_tubes(PREDICTED, VIDEOS[:1], (0.3,), "p.json", "t.json")


def test_video_without_truth_is_named():
    with pytest.raises(DataError, match=r"1 of the 2 videos of t.json have no truth \(b.mp4\)"):
        score_tubes(PREDICTED, [VIDEOS[0], TubeAnnotation("b.mp4", "he runs", None)], (0.3, 0.5), "p.json", "t.json")


def test_damaged_prediction_names_file_and_video(files):
    with open(files[0]) as file:
        content = json.load(file)
    content["b.mp4"]["ed_frame"] = 9
    with open(files[0], "w") as file:
        json.dump(content, file)
    with pytest.raises(DataError, match=r"video b.mp4 of .*predictions.json must have one box"):
        score_tube_file(*files, (0.3, 0.5), num_examples=0)
