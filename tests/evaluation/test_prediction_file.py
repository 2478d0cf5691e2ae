"""Reading and writing prediction files."""

import json
from dataclasses import replace

import pytest
import torch

from mmn.data import Splits, build_dataset
from mmn.data.tokenizer import build_tokenizer
from mmn.evaluation.inference import Predictions
from mmn.evaluation.moment_metrics import write_predictions
from mmn.evaluation.prediction_file import read_predictions
from mmn.utils.errors import DataError


def line(predicted, truth=((0, 10),), **more):
    record = {"qid": 0, "query": "a man runs", "vid": "v", "duration": 30.0}
    record |= {"relevant_windows": [list(moment) for moment in truth], "pred_relevant_windows": predicted}
    return json.dumps(record | more)


@pytest.fixture
def write(tmp_path):
    def write_file(*lines):
        path = tmp_path / "predictions.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return write_file


@pytest.mark.parametrize("query", ['tab\tand "quotes"', "naïve café", "line\u2028separator", "next\x85line", "a\nb"])
def test_any_query_survives_writing_and_reading(tiny_cfg, tmp_path, query):
    dataset = build_dataset(tiny_cfg, Splits(tiny_cfg).find("synthetic_test"), build_tokenizer(tiny_cfg))
    first = dataset.videos[0]
    dataset.videos = [replace(first, sentences=[query], windows=first.windows[:1])]
    predictions = Predictions(torch.tensor([0]), torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.5]]))
    write_predictions(str(tmp_path / "dump.jsonl"), dataset, predictions)
    (record,) = read_predictions(str(tmp_path / "dump.jsonl"))
    assert record.query == query


@pytest.mark.parametrize(
    "text, named",
    [
        ("{", "not valid json"),
        ("[1]", "json object"),
        ('{"qid": 7, "relevant_windows": [[0, 1]]}', "pred_relevant_windows"),
        (line([[0, 1]]), r"\[0, 1\] in 'pred_relevant_windows' without a score"),
        (line([[5, 5, 0.5]]), "window 5 to 5: a moment must start before it ends"),
        (line([[31, 40, 0.5]]), "window 31 to 40, which is outside its video of 30.0 s"),
        (line([], truth=[(9, 4)]), "window 9 to 4"),
        (line([], truth=[(3100, 4100)]), "window 3100 to 4100, which is outside"),
        (line([], relevant_windows=None), "relevant_windows null.* highlights"),
        ('{"qid": 7, "qid": 8}', "the key 'qid' stands twice"),
        (line([[0, "1", 0.5]]), "pred_relevant_windows"),
        (line([[0, float("nan"), 0.5]]), "finite"),
        (line([], truth=[]), "no relevant_windows.* --truth"),
    ],
)
def test_line_that_does_not_follow_the_schema_is_named(write, text, named):
    with pytest.raises(DataError, match=f"line 2 of .*{named}"):
        read_predictions(write(line([], qid=1), text))


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_file_is_refused(write, text):
    with pytest.raises(DataError, match="no line"):
        read_predictions(write(text))


def test_missing_file_is_named():
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read"):
        read_predictions("none.jsonl")


def apart(write, tmp_path, *annotations):
    """A prediction of the query "a" without its truth, which is in a file of its own -> the paths of both."""
    record = json.loads(line([[0, 10, 0.9]], qid="a"))
    del record["relevant_windows"], record["duration"]
    path = tmp_path / "truth.jsonl"
    path.write_text("".join(json.dumps(annotation) + "\n" for annotation in annotations))
    return write(json.dumps(record)), str(path)


def test_truth_and_duration_may_stand_in_a_file_of_their_own(write, tmp_path):
    annotations = [{"qid": "a", "relevant_windows": [[0, 5]], "duration": 150}]
    (record,) = read_predictions(*apart(write, tmp_path, *annotations))
    assert record.truth.tolist() == [[0, 5]]
    assert (record.qid, record.duration) == ("a", 150)


def test_query_without_a_prediction_is_refused_or_counts_as_wrong(write, tmp_path, caplog):
    paths = apart(write, tmp_path, *({"qid": qid, "relevant_windows": [[0, 5]], "duration": 150} for qid in "ba"))
    with pytest.raises(DataError, match=r"lacks 1 of the 2 queries of .*\(qid b\).*--missing-as-wrong"):
        read_predictions(*paths)
    found, missing = read_predictions(*paths, missing_as_wrong=True)
    assert (len(found.moments), len(missing.moments), missing.qid) == (1, 0, "b")
    assert "1 of the 2 queries" in caplog.text


def test_truth_in_the_predictions_must_be_that_of_the_file(write, tmp_path):
    path = write(line([[0, 10, 0.9]]))
    (tmp_path / "truth.jsonl").write_text(json.dumps({"qid": 0, "relevant_windows": [[7, 8]]}))
    with pytest.raises(DataError, match=r"line 1 of .* says that the true moments are \[\[0, 10\]\].*\[\[7, 8\]\]"):
        read_predictions(path, str(tmp_path / "truth.jsonl"))


def test_true_moments_are_cut_to_their_video(write):
    (record,) = read_predictions(write(line([], truth=[(-1, 5), (20, 31)])))
    assert record.truth.tolist() == [[0, 5], [20, 30]]


def test_a_byte_order_mark_is_read_over(write, tmp_path):
    write(line([]))
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_predictions(str(path))[0].query == "a man runs"


@pytest.mark.parametrize("said", [30, 304])
def test_length_of_a_video_is_that_of_the_truth_and_another_one_is_refused(write, tmp_path, said):
    _, truth = apart(write, tmp_path, {"qid": "a", "relevant_windows": [[0, 5]], "duration": 30.4})
    path = write(json.dumps({"qid": "a", "pred_relevant_windows": [[1, 5, 1]], "duration": said}))
    if said == 30:
        assert read_predictions(path, truth)[0].duration == 30.4
        return
    with pytest.raises(
        DataError, match="line 1 of .* says that its video lasts 304.0 s, but the file with the truth says"
    ):
        read_predictions(path, truth)


def test_window_beyond_all_numbers_of_float32_is_refused(write):
    with pytest.raises(DataError, match="no times of a video"):
        read_predictions(write(line([[1, 1e39, 1]], duration=None)))


@pytest.mark.parametrize("field", [{"qid": [1]}, {"qid": True}, {"duration": 0}, {"duration": "30"}, {"duration": -1}])
def test_bad_id_or_duration_is_named(write, field):
    with pytest.raises(DataError, match=f"line 1 of .*the {next(iter(field))}"):
        read_predictions(write(line([], **field)))


@pytest.mark.parametrize(
    "text, name",
    [
        ("vid,start,end\na,0,2\n", "csv"),
        ('[{"qid": 1, "query": "x"}]', "list of records"),
        ('{"a": {"duration": 9, "timestamps": [[0, 1]]}}', "one json object"),
        ('{\n "a": {\n  "duration": 9}}', "one json object"),
    ],
)
def test_file_of_another_form_is_named(tmp_path, text, name):
    path = tmp_path / "predictions.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=f"{name}.*JSON lines are expected"):
        read_predictions(str(path))
