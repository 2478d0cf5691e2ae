"""The files that users of HC-STVG have become the files that are read here."""

import json
import pickle

import numpy as np
import pytest
import torch
from processes import launch

from mmn.apps.convert.stvg import convert_split, parse_tracks
from mmn.config.catalog_entries import Track, TubeEntry
from mmn.config.paths_catalog import CATALOG
from mmn.data.features import FeatureFile
from mmn.data.splits import Splits
from mmn.data.tube_annotations import TubeFile, read_tube_annotations
from mmn.data.tube_files import check_tube_files
from mmn.utils.errors import ConfigError, DataError

WIDTHS = {"csn": 3, "flow": 2}
VIDEOS = {"one.mp4": [(5, 4), (0, 3)], "two.mp4": [(2, 2)]}  # (first frame, frames) of each tube
TRUTH = {"English": "a person walks", "st_frame": 5, "ed_frame": 6, "bbox": [[1, 2, 3, 4], [2, 2, 3.5, 4]]}


def box(frame):
    return [float(frame), 1.0, frame + 10.5, 20.0]


@pytest.fixture
def source(tmp_path):
    """A folder with what users have."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps({"one.mp4": TRUTH, "two.mp4": {**TRUTH, "English": "she sits"}}))
    (folder / "test.json").write_text(json.dumps({"one.mp4": "a person walks"}))
    features = {name: {} for name in WIDTHS}
    for video, tubes in VIDEOS.items():
        rows = [np.array([[frame, *box(frame), 0.9] for frame in range(a, a + n)], np.float32) for a, n in tubes]
        dump(folder / f"{video}_tubes.pkl", {0: [[tube, np.float32(0.7)] for tube in rows]})
        for name, width in WIDTHS.items():
            features[name][video] = [
                [torch.tensor([frame, *feature_row(name, video, frame, width)]) for frame in range(a, a + n)]
                for a, n in tubes
            ]
    for name, content in features.items():
        dump(folder / f"{name}.pkl", content)
    return folder


def feature_row(name, video, frame, width):
    rng = np.random.default_rng([len(name), len(video), frame])
    return rng.standard_normal(width).astype(np.float32).tolist()


def dump(path, content):
    path.write_bytes(pickle.dumps(content, 2))


def change(path, function):
    content = pickle.loads(path.read_bytes())
    function(content)
    dump(path, content)


def convert(source, split="train", **options):
    tracks = {name: str(source / f"{name}.pkl") for name in WIDTHS}
    out = source.parent / "HC_STVG"
    convert_split(str(source / f"{split}.json"), str(source), tracks, str(out), split, **options)
    return out


def test_annotations_hold_the_truth_by_corners(source):
    one, two = read_tube_annotations(str(convert(source) / "train.json"))
    assert (one.video_id, one.sentence, two.sentence) == ("one.mp4", "a person walks", "she sits")
    assert one.truth.first_frames.tolist() == [5]
    assert one.truth.boxes.tolist() == [[1, 2, 4, 6], [2, 2, 5.5, 6]]


def test_test_set_has_sentences_alone(source):
    (one,) = read_tube_annotations(str(convert(source, "test") / "test.json"))
    assert (one.sentence, one.truth) == ("a person walks", None)


def test_tubes_keep_their_frames_and_boxes(source):
    tubes = TubeFile(str(convert(source) / "train_tubes.hdf5"), "{vid}").read_tubes("one.mp4")
    assert tubes.first_frames.tolist() == [5, 0]
    assert tubes.lengths.tolist() == [4, 3]
    assert tubes.boxes.tolist() == [box(frame) for frame in (5, 6, 7, 8, 0, 1, 2)]


@pytest.mark.parametrize("name", WIDTHS)
def test_feature_rows_belong_to_the_rows_of_the_tubes(source, name):
    rows = FeatureFile(str(convert(source) / f"train_{name}.hdf5"), "{vid}", WIDTHS[name]).read("one.mp4")
    wanted = [feature_row(name, "one.mp4", frame, WIDTHS[name]) for frame in (5, 6, 7, 8, 0, 1, 2)]
    assert rows.tolist() == wanted


def test_converted_split_is_what_the_catalog_expects(source, stvg_cfg):
    out = convert(source)
    stvg_cfg.DATASETS.ROOT, stvg_cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE = str(out.parent), list(WIDTHS.values())
    check_tube_files(stvg_cfg, Splits(stvg_cfg).find("stvg_train"))


def test_names_without_the_extension_are_found(source):
    (source / "one.mp4_tubes.pkl").rename(source / "one_tubes.pkl")
    for name in WIDTHS:
        change(source / f"{name}.pkl", lambda content: content.update(one=content.pop("one.mp4")))
    assert len(read_tube_annotations(str(convert(source) / "train.json"))) == 2


def test_video_without_a_tube_is_refused_or_left_out(source, capsys):
    dump(source / "two.mp4_tubes.pkl", {0: []})
    with pytest.raises(DataError, match="two.mp4_tubes.pkl has no tube: leave out such videos by --skip-without-tubes"):
        convert(source)
    out = convert(source, skips_without_tubes=True)
    assert [video.video_id for video in read_tube_annotations(str(out / "train.json"))] == ["one.mp4"]
    assert "1 videos have no candidate tube and are left out: two.mp4" in capsys.readouterr().out


REFUSED = {
    "a list of tubes": ("one.mp4_tubes.pkl", lambda content: content.update({0: 3}), "file of tubes"),
    "a tube of another width": (
        "one.mp4_tubes.pkl",
        lambda content: content[0][1].__setitem__(0, np.zeros((3, 5))),
        "tube 1 that is no",
    ),
    "a gap between frames": (
        "one.mp4_tubes.pkl",
        lambda content: content[0][0][0].__setitem__((1, 0), 9),
        "do not follow each other",
    ),
    "a video without features": ("flow.pkl", lambda content: content.pop("two.mp4"), "no video two.mp4"),
    "features of one tube too few": (
        "csn.pkl",
        lambda content: content["one.mp4"].pop(),
        "1 tubes, but its tube file has 2",
    ),
    "features of another frame": (
        "csn.pkl",
        lambda content: content["one.mp4"][0][2].__setitem__(0, 99),
        "frame 99 in row 2, but the tube has frame 7",
    ),
    "a row too few": ("csn.pkl", lambda content: content["one.mp4"][0].pop(), "a row for each of the tube's 4 frames"),
    "rows of different widths": (
        "csn.pkl",
        lambda content: content["one.mp4"][0].__setitem__(0, torch.zeros(9)),
        "of equal length",
    ),
    "tubes of different widths": (
        "csn.pkl",
        lambda content: content["one.mp4"].__setitem__(1, [torch.tensor([frame, 1.0]) for frame in range(3)]),
        "every row must have as many",
    ),
    "features that are not finite": (
        "csn.pkl",
        lambda content: content["one.mp4"][0][0].__setitem__(1, float("nan")),
        "not finite",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_file_is_refused_by_name(source, kind):
    name, damage, named = REFUSED[kind]
    change(source / name, damage)
    with pytest.raises(DataError) as error:
        convert(source)
    assert name in str(error.value)
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"English": None}, "'English'"),
        ({"bbox": [[1, 2, 3, 4]]}, "every frame from 5 to 6"),
        ({"bbox": [[1, 2, 3], [1, 2, 3, 4]]}, "for frame 5"),
        ({"bbox": "boxes"}, "must have a list 'bbox'"),
        ({"bbox": [[1, 2, -3, 4]] * 2}, "x1 <= x2"),
        ({"st_frame": "5"}, "from frame 'st_frame' on"),
    ],
)
def test_annotation_is_refused_by_video(source, changes, named):
    entry = {key: value for key, value in {**TRUTH, **changes}.items() if value is not None}
    (source / "train.json").write_text(json.dumps({"one.mp4": entry}))
    with pytest.raises(DataError) as error:
        convert(source)
    assert "video one.mp4 of" in str(error.value)
    assert named in str(error.value)


def test_missing_tubes_name_both_places(source):
    (source / "two.mp4_tubes.pkl").unlink()
    with pytest.raises(DataError, match=r"neither .*two.mp4_tubes.pkl nor .*two_tubes.pkl"):
        convert(source)


def test_failed_conversion_leaves_no_annotations_behind(source):
    change(source / "flow.pkl", lambda content: content.pop("two.mp4"))
    with pytest.raises(DataError):
        convert(source)
    names = {path.name for path in (source.parent / "HC_STVG").iterdir()}
    assert names == {"train_tubes.hdf5", "train_csn.hdf5"}


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["csn"], "must be NAME=FILE"),
        (["=csn.pkl"], "must be NAME=FILE"),
        (["csn="], "must be NAME=FILE"),
        (["csn=a.pkl", "csn=b.pkl"], "csn is given twice"),
        (["tubes=a.pkl"], "the tubes' own file"),
    ],
)
def test_tracks_have_a_name_and_a_file_each(texts, named):
    with pytest.raises(ConfigError, match=named):
        parse_tracks(texts)


def test_tool_converts(source, tmp_path):
    features = [f"{name}={source / name}.pkl" for name in WIDTHS]
    arguments = ["--split", "test", "--annotations", source / "test.json", "--tubes", source, "--features", *features]
    done = launch(1, "convert_stvg.py", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "test.json",
        "test_tubes.hdf5",
        "test_csn.hdf5",
        "test_flow.hdf5",
    }


def test_catalog_names_the_files_of_the_tool():
    tracks = (Track(path="HC_STVG/val_csn.hdf5"), Track(path="HC_STVG/val_flow.hdf5"))
    entry = CATALOG["stvg_val"]
    assert entry == TubeEntry("HC_STVG/val.json", "HC_STVG/val_tubes.hdf5", tracks, licence=entry.licence)
