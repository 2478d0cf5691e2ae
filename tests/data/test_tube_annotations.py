"""Tubes in json and HDF5: what is written is read, and what is no tube is refused by name."""

import json

import naive_tubes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.data.tube_annotations import (
    TubeAnnotation,
    TubeFile,
    annotation_entry,
    parse_annotation,
    parse_table,
    parse_tube,
    read_tube_annotations,
    tube_entry,
    tube_table,
    write_entries,
    write_tables,
)
from mmn.structures.tubes import Tubes
from mmn.utils.errors import DataError

TRUTH = {"st_frame": 3, "ed_frame": 4, "bbox": {"3": [1, 2, 5.5, 9], "4": [2, 2, 6, 9]}}
GOOD = {"sentence": "a person walks", **TRUTH}


@st.composite
def any_tubes(draw, count=None):
    count = draw(st.integers(1, 4)) if count is None else count
    lengths = draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    first = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corners = rng.uniform(-50, 300, (sum(lengths), 2)).astype(np.float32)
    sizes = rng.uniform(0, 100, corners.shape).astype(np.float32)
    boxes = torch.from_numpy(np.concatenate([corners, corners + sizes], axis=1))
    return Tubes(torch.tensor(first), torch.tensor(lengths), boxes)


def assert_equal(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def refused(call, *named):
    with pytest.raises(DataError) as error:
        call()
    assert all(name in str(error.value) for name in named), str(error.value)
    assert "\n" not in str(error.value)


# ---- Round trips -----------------------------------------------------------------------------------------------------


@given(any_tubes())
def test_tables_give_back_the_tubes(tubes):
    """Also where a tube begins in the frame after the last of the one before."""
    assert_equal(parse_table("here", tube_table(tubes).astype(np.float64)), tubes)


@given(any_tubes(count=1))
def test_entries_give_back_the_tube(tube):
    assert_equal(parse_tube("here", json.loads(json.dumps(tube_entry(tube)))), tube)


@given(any_tubes(count=1), st.booleans())
def test_annotations_are_read_as_they_were_written(tmp_path_factory, tube, is_known):
    path = str(tmp_path_factory.mktemp("annotations") / "split.json")
    annotation = TubeAnnotation("a.mp4", "Überall läuft jemand", tube if is_known else None)
    write_entries(path, {"a.mp4": annotation_entry(annotation)})
    (found,) = read_tube_annotations(path)
    assert (found.video_id, found.sentence) == (annotation.video_id, annotation.sentence)
    assert (found.truth is not None) == is_known
    if is_known:
        assert_equal(found.truth, tube)


def test_tube_file_gives_back_the_tubes(tmp_path):
    tubes = Tubes(torch.tensor([4, 5]), torch.tensor([1, 2]), torch.arange(12.0).view(3, 4))
    path = str(tmp_path / "tubes.hdf5")
    write_tables(path, [("folder/a.mp4", tube_table(tubes))])
    file = TubeFile(path, "{vid}")
    file.check(["folder/a.mp4"])
    assert_equal(file.read_tubes("folder/a.mp4"), tubes)


def test_boxes_are_those_of_their_frames():
    tube = parse_tube("here", TRUTH)
    assert naive_tubes.frames_of(tube, 0) == {3: [1, 2, 5.5, 9], 4: [2, 2, 6, 9]}


# ---- Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sentence": " "}, "'sentence'"),
        ({"sentence": 3}, "'sentence'"),
        ({"sentence": "\ud800"}, "'sentence'"),
        ({"bbox": None}, "no 'bbox'"),
        ({"st_frame": None}, "no 'st_frame'"),
        ({"st_frame": 3.0}, "frames 3.0 to 4"),
        ({"st_frame": True}, "frames True"),
        ({"st_frame": 5}, "frames 5 to 4"),
        ({"st_frame": -1}, "frames -1 to 4"),
        ({"ed_frame": 2**40}, "frames 3 to"),
        ({"ed_frame": 5}, "every frame from 3 to 5"),
        ({"bbox": [[1, 2, 3, 4]]}, "one box in 'bbox'"),
        ({"bbox": {"3": [1, 2, 3], "4": [1, 2, 3, 4]}}, "[1, 2, 3] in frame 3"),
        ({"bbox": {"3": [1, 2, 3, "a"], "4": [1, 2, 3, 4]}}, "in frame 3"),
        ({"bbox": {"3": [1, 2, 3, float("nan")], "4": [1, 2, 3, 4]}}, "in frame 3"),
        ({"bbox": {"3": [1, 2, 3, 4], "4": [5, 2, 3, 4]}}, "x1 <= x2"),
        ({"bbox": {"3": [1, 2, 3, 4], "4": [5, 2, 1e300, 4]}}, "in frame 4"),
    ],
)
def test_annotation_is_refused(changes, named):
    entry = {key: value for key, value in (GOOD | changes).items() if value is not None}
    refused(lambda: parse_annotation("video a of b.json", "a", entry), "video a of b.json", named)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([[1, 0, 0, 0, 1, 1]], "number its tubes"),
        ([[0, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 1]], "number its tubes"),
        ([[0, 0, 0, 0, 1, 1], [0.5, 1, 0, 0, 1, 1]], "number its tubes"),
        ([[0, 0, 0, 0, 1, 1], [0, 2, 0, 0, 1, 1]], "at row 1"),
        ([[0, 0.5, 0, 0, 1, 1]], "do not follow each other"),
        ([[0, 0.5, 0, 0, 1, 1], [0, 1.5, 0, 0, 1, 1]], "at row 0"),
        ([[0, 0, 0, 0, 1, 1], [0, np.nan, 0, 0, 1, 1]], "at row 1"),
        ([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]], "at row 1"),
        ([[0, -1, 0, 0, 1, 1]], "a frame below 0"),
        ([[0, 0, 2, 0, 1, 1]], "x1 <= x2"),
        ([[0, 0, np.nan, 0, 1, 1]], "x1 <= x2"),
    ],
)
def test_table_is_refused(rows, named):
    refused(lambda: parse_table("the table", np.array(rows, dtype=np.float64)), "the table", named)


def test_table_of_another_width_names_the_tool(tmp_path):
    write_tables(str(tmp_path / "tubes.hdf5"), [("a", np.zeros((3, 5), np.float32))])
    refused(lambda: TubeFile(str(tmp_path / "tubes.hdf5"), "{vid}").read_tubes("a"), "shape [3, 5]", "convert-stvg")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["3", "4", "a"]), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), JSON, max_size=5))
def test_any_json_is_an_annotation_or_a_sentence_about_it(entry):
    try:
        assert isinstance(parse_annotation("video a", "a", GOOD | entry), TubeAnnotation)
    except DataError as error:
        assert "video a" in str(error)


NUMBERS = st.sampled_from([0.0, 1.0, 2.0, 0.5, 1.5, -1.0, 1e9, np.nan])


@given(st.lists(st.lists(NUMBERS, min_size=6, max_size=6), min_size=1, max_size=5))
def test_any_table_is_tubes_or_a_sentence_about_it(rows):
    try:
        tubes = parse_table("the table", np.array(rows))
    except DataError as error:
        assert "the table" in str(error)
    else:
        assert np.array_equal(tube_table(tubes), np.array(rows, dtype=np.float32))
