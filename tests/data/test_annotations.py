"""Reading annotation files: the rule of SPEC section 1, and every refusal."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.data.annotations import count_sentences, iterate_sentences, read_annotation_file, read_annotations
from mmn.utils.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write_file(content):
        path = tmp_path / "split.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write_file


def entry(*timestamps, duration=10.0):
    sentences = [f"sentence {number}" for number in range(len(timestamps))]
    return {"duration": duration, "timestamps": [list(times) for times in timestamps], "sentences": sentences}


def refusal(write, content, time_unit="seconds"):
    with pytest.raises(DataError) as error:
        read_annotations(write(content), time_unit)
    return str(error.value)


def test_videos_are_in_file_order(write):
    videos = read_annotations(write({"b": entry([0, 1]), "a": entry([0, 1]), "c": entry([0, 1])}))
    assert [video.video_id for video in videos] == ["b", "a", "c"]


def test_sentences_without_start_below_end_are_dropped(write):
    (video,) = read_annotations(write({"a": entry([3, 3], [1, 2], [5, 4], [6, 7])}))
    assert video.sentences == ["sentence 1", "sentence 3"]
    assert video.moments.tolist() == [[1, 2], [6, 7]]


def test_videos_without_a_sentence_left_are_dropped(write):
    videos = read_annotations(write({"a": entry([3, 3]), "b": entry([1, 2]), "c": entry()}))
    assert [video.video_id for video in videos] == ["b"]


def test_moments_are_clamped_into_the_video(write):
    (video,) = read_annotations(write({"a": entry([-2.5, 4], [8, 12.75])}))
    assert video.moments.tolist() == [[0, 4], [8, 10]]


def test_moments_outside_their_video_are_left_out_and_counted(write):
    content = {"a": entry([1, 2], [11, 12], [-3, -1], [10, 10.5], [4, 3], [5, 11]), "b": entry([12, 13])}
    file = read_annotation_file(write(content))
    assert [(video.video_id, video.moments.tolist()) for video in file.videos] == [("a", [[1, 2], [5, 10]])]
    assert str(file.counts) == "2 sentences, 5 left out (4 outside the video, 1 start >= end), 1 clamped"


def test_a_moment_that_float32_rounds_away_is_left_out(write):
    (video,) = read_annotations(write({"a": entry([1, 2], [9.9999999999, 10], duration=10.0)}))
    assert video.sentences == ["sentence 0"]


@pytest.mark.parametrize("factor, unit", [(1000, "milliseconds"), (29.97, "frames")])
def test_times_in_another_unit_are_refused_with_the_guess(write, factor, unit):
    times = [[3.5 * factor, 9 * factor], [2 * factor, 5 * factor], [0, 0.01 * factor]]
    assert unit in refusal(write, {"a": entry(*times)})


def test_times_in_shares_of_the_duration_are_refused(write):
    assert "shares of the duration" in refusal(write, {"a": entry(*[[0.1 * n, 0.1 * n + 0.2] for n in range(8)])})


def test_frames_are_divided_by_fps(write):
    content = {"a": {"fps": 29.4, "num_frames": 1000, "timestamps": [[10, 500], [900, 1100]], "sentences": ["x", "y"]}}
    (video,) = read_annotations(write(content), "frames")
    assert video.duration == 1000 / 29.4
    wanted = np.array([[10 / 29.4, 500 / 29.4], [900 / 29.4, 1000 / 29.4]], dtype=np.float32)
    assert np.array_equal(video.moments, wanted)
    assert video.moments.dtype == np.float32


@given(st.lists(st.tuples(st.floats(-5, 50), st.floats(-5, 50)), max_size=8), st.floats(30, 40))
def test_moments_are_the_naive_ones(tmp_path_factory, timestamps, duration):
    path = tmp_path_factory.mktemp("naive") / "split.json"
    timestamps = [*timestamps, (0.0, 1.25)]  # one that is kept for sure
    path.write_text(json.dumps({"a": entry(*timestamps, duration=duration)}))
    (video,) = read_annotations(str(path))
    clamped = [(max(start, 0), min(end, duration)) for start, end in timestamps if start < end]
    wanted = [(start, end) for start, end in clamped if np.float32(start) < np.float32(end)]
    assert np.array_equal(video.moments, np.array(wanted, dtype=np.float32))


def test_sentences_are_counted_and_listed_in_annotation_order(write):
    videos = read_annotations(write({"a": entry([0, 1], [1, 2]), "b": entry([0, 1])}))
    assert count_sentences(videos) == 3
    assert [(video.video_id, number) for video, number in iterate_sentences(videos)] == [("a", 0), ("a", 1), ("b", 0)]


@pytest.mark.parametrize("key", ["duration", "timestamps", "sentences"])
def test_missing_field_is_named_with_its_video(write, key):
    broken = {name: value for name, value in entry([0, 1]).items() if name != key}
    message = refusal(write, {"fine": entry([0, 1]), "broken": broken})
    assert "video broken" in message
    assert repr(key) in message


@pytest.mark.parametrize("duration", [0, -1, "10", None, True, float("nan")])
def test_duration_that_is_no_positive_number_is_refused(write, duration):
    assert "duration" in refusal(write, {"a": entry([0, 1], duration=duration)})


@pytest.mark.parametrize("times", [[1], [1, 2, 3], ["1", "2"], [0, float("inf")], None, [None, 1]])
def test_timestamp_that_is_no_pair_of_numbers_is_refused(write, times):
    content = {"a": entry([0, 1]) | {"timestamps": [times]}}
    assert "timestamp 0" in refusal(write, content)


@pytest.mark.parametrize("sentence", ["", "  ", None, 3])
def test_sentence_that_is_no_text_is_refused(write, sentence):
    assert "sentence 0" in refusal(write, {"a": entry([0, 1]) | {"sentences": [sentence]}})


def test_lists_of_unequal_length_are_refused(write):
    assert "equal length" in refusal(write, {"a": entry([0, 1]) | {"sentences": ["x", "y"]}})


@pytest.mark.parametrize("content", ["{", "[]", "{}", "[1]", '{"a": 3}', '{"a": {}, "a": {}}', "\x00"])
def test_file_that_is_no_object_of_objects_is_refused(write, content):
    assert "split.json" in refusal(write, content)


def test_repeated_video_is_named(write):
    assert "'twice' stands twice" in refusal(write, '{"once": {}, "twice": {}, "twice": {}}')


def test_file_without_any_valid_sentence_is_refused(write):
    assert "no sentence" in refusal(write, {"a": entry([3, 3])})


def test_missing_file_is_an_error_that_names_it():
    with pytest.raises(DataError, match="nowhere.json"):
        read_annotations("nowhere.json")


def test_byte_order_mark_is_read_over(tmp_path):
    path = tmp_path / "split.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": entry([0, 1])}).encode())
    assert read_annotations(str(path))[0].video_id == "a"


@pytest.mark.parametrize(
    "text, name",
    [
        ("vid,start,end,sentence\na,0,2,he runs, then sits\n", "csv"),
        ("vid\tstart\tend\na\t0\t2\n", "csv"),
        ('[{"qid": 1, "query": "x", "vid": "a"}]', "list of records"),
        ('{"version": "1.3", "database": {"a": {"duration": 9}}, "taxonomy": []}', "'database'"),
        ("", "empty"),
    ],
)
def test_file_of_another_known_form_is_named(write, text, name):
    assert name in refusal(write, text)
