"""Annotation files of every form hold the same sentences, and what is wrong with one is named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_annotations import ANNOTATIONS, needs_real_annotations

from mmn.data.annotation_files import read_annotation_json, read_durations
from mmn.data.annotations import iterate_sentences, read_annotation_file, read_annotations
from mmn.utils.errors import DataError

QVHIGHLIGHTS = ANNOTATIONS.parent / "qvhighlights"


@pytest.fixture
def write(tmp_path):
    def write_file(*lines, name="split.jsonl"):
        path = tmp_path / name
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return str(path)

    return write_file


def line(qid=1, vid="a", windows=((0, 2),), duration=9, query="he runs", **changes):
    record = {"qid": qid, "query": query, "vid": vid, "duration": duration, "relevant_windows": windows}
    return {key: value for key, value in {**record, **changes}.items() if value is not ...}


def rows(videos):
    return [
        (video.video_id, video.duration, video.sentences[number], video.windows[number].tolist())
        for video, number in iterate_sentences(videos)
    ]


# ---- Every form says the same ----------------------------------------------------------------------------------------

SENTENCE = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1).filter(
    lambda text: text.strip()
)
MOMENT = st.tuples(st.integers(0, 19), st.integers(1, 20)).filter(lambda pair: pair[0] < pair[1])
QUERY = st.tuples(st.sampled_from(["v1", "v2", "v_3"]), SENTENCE, MOMENT.map(list))


@given(st.lists(QUERY, min_size=1, max_size=6), st.randoms())
def test_all_forms_of_the_same_annotations_are_read_alike(tmp_path_factory, queries, rng):
    folder = tmp_path_factory.mktemp("forms")
    queries.sort(key=lambda query: query[0])
    by_video = {}
    for vid, text, window in queries:
        entry = by_video.setdefault(vid, {"video_duration": 20.5, "timestamps": [], "sentences": [], "more": 1})
        entry["timestamps"].append(window)
        entry["sentences"].append(text)
    lines = [line(number, vid, [window], 20.5, text) for number, (vid, text, window) in enumerate(queries)]
    movies = {
        str(number): {"movie": vid, "movie_duration": 20.5, "ext_timestamps": window, "sentence": text}
        for number, (vid, text, window) in enumerate(queries)
    }
    contents = {
        "json": json.dumps(by_video),
        "jsonl": "\n".join(map(json.dumps, lines)),
        "mad": json.dumps(movies),
        "charades": "\r\n".join(f"{vid} {start} {end}##{text}" for vid, text, (start, end) in queries),
    }
    (folder / "durations.json").write_text(json.dumps(dict.fromkeys(by_video, 20.5)))
    wanted = [(vid, 20.5, text, [window]) for vid, text, window in queries]
    for form, content in contents.items():
        path = folder / f"{form}.txt"
        path.write_text(content, encoding="utf-8", newline="")
        for stated in ("", form):
            durations = str(folder / "durations.json") if form == "charades" else ""
            assert rows(read_annotations(str(path), form=stated, durations=durations)) == wanted


def test_lines_of_a_video_need_not_be_neighbours(write):
    videos = read_annotations(write(line(1, "a"), line(2, "b"), line("s3", "a", query="he sits")))
    assert [(video.video_id, video.sentences, video.qids) for video in videos] == [
        ("a", ["he runs", "he sits"], [1, "s3"]),
        ("b", ["he runs"], [2]),
    ]


def test_a_sentence_has_all_its_moments(write):
    file = read_annotation_file(write(line(1, windows=[[0, 2], [4, 6.5], [8, 12], [10, 11], [3, 3]]), line(2)))
    (video,) = file.videos
    assert [windows.tolist() for windows in video.windows] == [[[0, 2], [4, 6.5], [8, 9]], [[0, 2]]]
    assert video.moments.tolist() == [[0, 2], [4, 6.5], [8, 9], [0, 2]]
    assert video.moment_counts.tolist() == [3, 1]
    assert str(file.counts) == (
        "2 sentences, 0 left out, 1 clamped; of their moments 2 left out (1 outside the video, 1 start >= end)"
    )


def test_a_blind_test_set_has_sentences_without_truth(write):
    file = read_annotation_file(write(line(1, relevant_windows=...), line(2, "b", relevant_windows=...)))
    assert not file.has_truth
    assert [video.moments.shape for video in file.videos] == [(0, 2), (0, 2)]
    assert file.counts.sentences == 2


@needs_real_annotations
@pytest.mark.parametrize(
    "name, num_videos, num_sentences, num_moments",
    [("train_release", 7100, 7218, 12803), ("val_release", 1519, 1550, 2803), ("test_with_gt", 1529, 1542, 2761)],
)
def test_counts_of_qvhighlights(name, num_videos, num_sentences, num_moments):
    file = read_annotation_file(str(QVHIGHLIGHTS / f"highlight_{name}.jsonl"))
    assert str(file.counts) == f"{num_sentences} sentences, 0 left out, 0 clamped"
    assert len(file.videos) == num_videos
    moments = np.concatenate([video.moments for video in file.videos])
    assert len(moments) == num_moments
    assert not (moments % 2).any()


@needs_real_annotations
@pytest.mark.parametrize(
    "path, unit, left_out, clamped",
    [
        ("TACoS/train", "frames", 0, 43),
        ("ActivityNet/train", "seconds", 4, 261),
        ("Charades_STA/charades_train", "seconds", 0, 0),
    ],
)
def test_released_files_lose_nothing_beyond_the_rule(path, unit, left_out, clamped):
    counts = read_annotation_file(str(ANNOTATIONS / f"{path}.json"), unit).counts
    assert (counts.left_out.total(), counts.left_out["start >= end"], counts.clamped) == (left_out, left_out, clamped)


# ---- What is refused -------------------------------------------------------------------------------------------------


def refusal(path, **options):
    with pytest.raises(DataError) as error:
        read_annotations(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "second, named",
    [
        ("{", "line 2 of"),
        ("[1]", "line 2 of"),
        (line(2, relevant_windows=None, label=[[1]]), "these are not moments"),
        (line(2, relevant_windows=...), "1 of the 2 sentences"),
        (line(1), "1 qids more than once (1)"),
        (line("1"), "1 qids more than once (1)"),
        (line(qid=...), "a qid in 1 of its 2 sentences"),
        (line(2, query=" "), "'query'"),
        (line(2, vid=7), "'vid'"),
        (line(2, duration=0), "duration 0"),
        (line(2, duration=...), "says no duration of video a"),
        (line(2, duration=20), "lasts 20 s"),
        (line(2, windows=[[1, None]]), "relevant_windows"),
        (line(2, windows=[1, 2]), "relevant_windows"),
    ],
)
def test_bad_line_is_named(write, second, named):
    assert named in refusal(write(line(1), second))


def test_times_in_milliseconds_of_json_lines_are_refused(write):
    assert "milliseconds" in refusal(
        write(line(1, windows=[[2000, 8000]]), line(2, windows=[[100, 300], [4000, 6000]]))
    )


@pytest.mark.parametrize("text", ["a 0.0 x##he runs", "a 0.0##he runs", "a 0 inf##he runs", "a 0 2##", "he runs"])
def test_bad_line_of_charades_is_named(write, text):
    path = write("a 0 2##he runs", text, name="split.txt")
    assert "line 2 of" in refusal(path, durations=write({"a": 9}, name="durations.json"))


def test_text_lines_without_durations_say_which_key_names_them(write):
    assert "`durations`" in refusal(write("a 0 2##he runs", name="split.txt"))


def test_video_without_a_duration_is_named_with_the_file_that_lacks_it(write):
    message = refusal(write("a 0 2##he runs", name="split.txt"), durations=write({"b": 9}, name="durations.json"))
    assert "video a" in message
    assert "durations.json lacks it" in message


@pytest.mark.parametrize(
    "entry, named",
    [
        ({"movie": "m", "movie_duration": 9, "ext_timestamps": [1], "sentence": "x"}, "ext_timestamps"),
        ({"movie": "m", "ext_timestamps": [1, 2], "sentence": "x"}, "movie_duration"),
        ({"movie": "m", "movie_duration": 9, "ext_timestamps": [1, 2], "sentence": ""}, "'sentence'"),
        (3, "must be an object"),
    ],
)
def test_bad_query_of_mad_is_named(write, entry, named):
    good = {"movie": "m", "movie_duration": 9, "ext_timestamps": [1, 2], "sentence": "x"}
    message = refusal(write({"q1": good, "q2": entry}, name="split.json"))
    assert "query q2" in message
    assert named in message


def test_form_that_the_entry_states_wrongly_is_named(write):
    assert "line 1 of" in refusal(write({"a": {}}, name="split.json"), form="charades")
    assert "its 'query'" in refusal(write({"a": {}}, name="split.json"), form="jsonl")


def test_frames_go_with_the_json_form_alone(write):
    assert "leave out time_unit" in refusal(write(line(1), line(2)), time_unit="frames")


# ---- Durations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, text",
    [
        ("d.json", '{"a": 9.5, "b": 12}'),
        ("d.json", '{"b": {"duration": 12, "timestamps": [[0, 1]], "sentences": ["x"]}}'),
        ("d.json", '\ufeff{"b": {"num_frames": 300, "fps": 25}}'),
        ("d.json", '{"1": {"movie": "b", "movie_duration": 12, "sentence": "x", "ext_timestamps": [0, 1]}}'),
        ("d.jsonl", '{"vid": "a", "query": "x", "duration": 9.5}\n{"vid": "b", "query": "y", "duration": 12}\n'),
        ("d.csv", 'id,subject,script,length\na,S1,"one, two\nthree",9.5\nb,S2,x,12\n'),
    ],
)
def test_durations_are_read_from_a_table_or_json(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read_durations(str(tmp_path / name))
    assert found["b"] == 12
    assert found.get("a", 9.5) == 9.5


@pytest.mark.parametrize(
    "name, text, named",
    [
        ("d.json", '{"a": -1}', "video a"),
        ("d.csv", "id,length\na,x\n", "line 2"),
        ("d.csv", "name,seconds\na,1\n", "name, seconds"),
        ("D.CSV", "id,length\na,10\nb,3\na,90\n", "line 4 .*90.0 s, an earlier one 10.0 s"),
        ("d.csv", "id,length\n,10\n", "line 2"),
        ("d.json", '{"a": 10, "b": "12"}', "video b"),
        ("d.json", '{"a": {"fps": 25}}', "video a .*num_frames and fps"),
        ("d.txt", "a 0 1##x\n", "line 1 .*no duration"),
        ("d.json", '{"a": 10, "a": 90}', "twice"),
    ],
)
def test_bad_durations_are_named(tmp_path, name, text, named):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=named):
        read_durations(str(tmp_path / name))


def test_reader_of_one_form_names_the_others(write):
    with pytest.raises(DataError, match="JSON lines"):
        read_annotation_json(write(line(1), line(2)))
