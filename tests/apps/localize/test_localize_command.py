"""tools/localize.py: what it prints and writes, and how it refuses."""

import json
import sys

import h5py
import numpy as np
import pytest
import torch
from localizing import RECIPE, checkpoint_content, colour_extractor, random_rows
from processes import launch
from small_videos import write_plain_video
from tiny import tiny_config

from mmn import MomentLocalizer
from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.localize.found_files import format_results, middle_frames
from mmn.apps.localize.localize_command import Outputs, localize_video, split_queries
from mmn.apps.localize.model_source import ModelSource, load_localizer
from mmn.apps.localize.video_source import VideoSource
from mmn.apps.video.decode import probe
from mmn.evaluation.prediction_file import read_predictions
from mmn.utils.errors import UserError

QUERIES = ["A man throws a ball.", "Somebody washes a cup."]


@pytest.fixture(scope="module")
def checkpoint(dataset_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pth"
    cfg = tiny_config(dataset_root, "output")
    torch.save(checkpoint_content(cfg, feature_recipe=RECIPE.to_dict()), path)
    return path


@pytest.fixture(scope="module")
def localizer(checkpoint):
    localizer = MomentLocalizer.from_checkpoint(checkpoint, device="cpu")
    localizer.use_extractor(colour_extractor())
    return localizer


@pytest.fixture(scope="module")
def video_file(tmp_path_factory):
    return str(write_plain_video(tmp_path_factory.mktemp("videos") / "colours.mp4", num_frames=40, fps=10))


@pytest.fixture
def feature_file(tmp_path):
    """(recipe of its attributes, attributes of the video) -> the path of a file with 20 rows of `walk`."""

    def write(recipe=None, **attributes):
        path = str(tmp_path / "features.hdf5")
        with h5py.File(path, "w") as file:
            file.attrs.update(recipe.to_attributes() if recipe else {})
            file["walk"] = random_rows(20)
            file["walk"].attrs.update(attributes)
        return path

    return write


def run(localizer, source, capsys, outputs=None, queries=QUERIES, top_k=3, **windows):
    localize_video(localizer, source, queries, top_k, outputs or Outputs(), **windows)
    return capsys.readouterr().out


# ---- What is printed and written ---------------------------------------------------------------------------------------


def test_table_has_the_moments_of_each_query(localizer, capsys, feature_file):
    source = VideoSource("walk", feature_file(), duration=30.0)
    text = run(localizer, source, capsys)
    results = localizer.localize(random_rows(20), QUERIES, top_k=3, duration=30.0)
    assert text == format_results(localizer.encode_video(random_rows(20), 30.0, name="walk"), results) + "\n"
    assert text.startswith("walk, 30.0 s\n\nA man throws a ball.\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows] == ["", "1", "2", "3"] * 2
    moment = results[0].moments[0]
    assert rows[1][3:] == [f"{value:.3f}" for value in (moment.score, moment.contrastive, moment.iou)]


def test_head_says_how_a_long_video_is_searched(localizer, capsys, feature_file):
    source = VideoSource("walk", feature_file(), duration=30.0)
    text = run(localizer, source, capsys, window=15.0, overlap=7.5)
    assert text.startswith("walk, 30.0 s, searched in 3 windows of 15.0 s\n")


def test_json_lines_are_those_of_a_dump(localizer, capsys, feature_file, tmp_path):
    path = str(tmp_path / "found.jsonl")
    queries = [*QUERIES, "naïve\u2028café"]
    run(localizer, VideoSource("walk", feature_file(), duration=30.0), capsys, Outputs(json=path), queries)
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file.read().strip().split("\n")]
    keys = ["qid", "query", "vid", "duration", "relevant_windows", "pred_relevant_windows"]
    assert [list(record) for record in records] == [keys] * 3
    assert [record["query"] for record in records] == queries
    found = localizer.localize(random_rows(20), queries, top_k=3, duration=30.0)
    windows = [[[moment.start, moment.end, moment.score] for moment in result.moments] for result in found]
    assert [record["pred_relevant_windows"] for record in records] == windows


def test_json_lines_are_scored_with_the_truth_of_another_file(localizer, capsys, feature_file, tmp_path):
    path, truth = str(tmp_path / "found.jsonl"), tmp_path / "truth.jsonl"
    run(localizer, VideoSource("walk", feature_file(), duration=30.0), capsys, Outputs(json=path))
    lines = [{"qid": number, "query": query, "relevant_windows": [[1, 9]]} for number, query in enumerate(QUERIES)]
    truth.write_text("\n".join(map(json.dumps, lines)))
    assert [record.query for record in read_predictions(path, str(truth))] == QUERIES


def test_clips_are_as_long_as_their_moments(localizer, capsys, video_file, tmp_path):
    folder = tmp_path / "clips"
    text = run(localizer, VideoSource(video_file), capsys, Outputs(clip_dir=str(folder)), top_k=2)
    assert f"wrote {folder}" in text
    for number, result in enumerate(localizer.localize(video_file, QUERIES, top_k=2), start=1):
        for rank, moment in enumerate(result.moments, start=1):
            (clip,) = folder.glob(f"colours_query{number}_{rank}_{moment.start:.1f}-{moment.end:.1f}s.mp4")
            assert probe(clip).duration == pytest.approx(moment.end - moment.start, abs=0.11)
    assert len(list(folder.iterdir())) == 4


def test_frames_of_the_picture_are_those_in_the_middle_of_the_moments(localizer, video_file):
    results = localizer.localize(video_file, QUERIES, top_k=2)
    frames = middle_frames(VideoSource(video_file), results, most=1)
    assert len(frames) == 2
    whole = list(colour_extractor().frames(video_file))
    for frame, result in zip(frames, results, strict=True):
        middle = (result.moments[0].start + result.moments[0].end) / 2
        assert np.abs(frame.astype(int) - whole[int(middle * 10 + 0.01)].image).mean() < 3


@pytest.mark.parametrize("windows", [{}, {"window": 2.0}], ids=["whole", "windows"])
def test_picture_is_written(localizer, capsys, video_file, tmp_path, windows):
    image = pytest.importorskip("matplotlib.image")
    path = tmp_path / "found.png"
    run(localizer, VideoSource(video_file), capsys, Outputs(plot=str(path)), **windows)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert image.imread(path)[..., :3].std() > 0.05


def test_features_stand_for_the_video_file_of_their_name(localizer, capsys, feature_file, tmp_path):
    video = write_plain_video(tmp_path / "walk.mp4", num_frames=30, fps=10)
    assert run(localizer, VideoSource(str(video), feature_file()), capsys).startswith("walk, 3.0 s\n")


def test_feature_file_may_say_how_long_a_video_is(localizer, capsys, feature_file):
    text = run(localizer, VideoSource("walk", feature_file(RECIPE, duration=12.5)), capsys)
    assert text.startswith("walk, 12.5 s\n")


def test_length_in_a_feature_file_that_is_no_number_is_named(localizer, feature_file):
    with pytest.raises(UserError, match="the attribute duration of video walk .* is 'long'"):
        localize_video(localizer, VideoSource("walk", feature_file(duration="long")), QUERIES, 3, Outputs())


def test_feature_key_says_where_a_video_is(localizer, capsys, tmp_path):
    path = str(tmp_path / "nested.hdf5")
    with h5py.File(path, "w") as file:
        file["walk/rows"] = random_rows(20)
    source = VideoSource("walk", path, "{vid}/rows", duration=30.0)
    assert run(localizer, source, capsys).startswith("walk, 30.0 s")


# ---- Arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, num_queries",
    [
        (["a man", "MODEL.DEVICE", "cpu"], 1),
        (["a man", "U.S. soldiers", "TV.", "A.B. sits"], 4),
        (["Mr.Bean", "U.S", "NASA.Rover", "MODEL.DEVICE", "cpu"], 3),
        (["a man", "SOLVR.LR", "1"], 1),
        (["SOLVER.LR", "1"], 0),
        (["a man", "Model.Device", "cpu"], 1),  # refused as an unknown key, with the nearest
    ],
)
def test_first_word_that_looks_like_a_key_ends_the_sentences(words, num_queries):
    assert split_queries(words) == (words[:num_queries], words[num_queries:])


def test_recipe_of_a_feature_file_makes_the_extractor(checkpoint, feature_file, monkeypatch):
    asked = []
    monkeypatch.setattr(
        FeatureExtractor,
        "from_recipe",
        lambda recipe, weights, device: asked.append((recipe, weights, str(device))) or colour_extractor(),
    )
    load_localizer(
        ModelSource(
            checkpoint, None, ["MODEL.DEVICE", "cpu"], recipe_file=feature_file(RECIPE), backbone_weights="w.pth"
        )
    )
    assert asked == [(RECIPE, "w.pth", "cpu")]


# ---- Mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, named",
    [
        (VideoSource("run", "FEATURES", duration=3.0), "no dataset at 'run', but what it holds is 'walk'"),
        (VideoSource("", "FEATURES", duration=3.0), "''"),
        (VideoSource("walk", "FEATURES"), "does not say how long walk is: give --duration"),
        (VideoSource("walk", "none.hdf5", duration=3.0), "none.hdf5 does not exist"),
        (VideoSource("walk", __file__, duration=3.0), "is no HDF5 file"),
        (VideoSource("film.mp4"), "film.mp4 does not exist"),
        (VideoSource("film.mp4", duration=3.0), "--duration goes with --features"),
    ],
)
def test_source_that_cannot_be_is_a_sentence(localizer, feature_file, source, named):
    if source.features == "FEATURES":
        source = VideoSource(source.video, feature_file(), duration=source.duration)
    with pytest.raises(UserError, match=named) as error:
        localize_video(localizer, source, QUERIES, 3, Outputs())
    assert "\n" not in str(error.value)


def test_feature_file_is_closed_where_it_lacks_the_video(localizer, feature_file):
    path = feature_file()
    with pytest.raises(UserError, match="no dataset at 'run'") as error:
        localize_video(localizer, VideoSource("run", path, duration=3.0), QUERIES, 3, Outputs())
    with h5py.File(path, "a") as file:  # refused while it is open for reading
        assert "walk" in file
    assert error.tb  # which has held what was open


def test_features_of_another_recipe_are_refused(localizer, feature_file):
    other = feature_file(RECIPE.__class__(**{**RECIPE.to_dict(), "backbone": "shapes"}))
    with pytest.raises(UserError, match="trained on features of colours.*the features of walk are shapes"):
        localize_video(localizer, VideoSource("walk", other, duration=3.0), QUERIES, 3, Outputs())


@pytest.mark.parametrize(
    "queries, top_k, outputs, named",
    [
        (QUERIES, 3, Outputs(plot="found.pdf"), "end in .png"),
        (QUERIES, 3, Outputs(clip_dir="clips"), "--clip-dir cuts moments out of a video file"),
        (QUERIES, 0, Outputs(), "top_k is 0"),
        ([], 3, Outputs(), "at least one sentence"),
        (["a man", " "], 3, Outputs(), "query 2 of 2"),
    ],
)
def test_what_cannot_be_is_refused_before_the_search(localizer, queries, top_k, outputs, named, monkeypatch):
    monkeypatch.setattr(localizer, "encode_video", lambda *args, **kwargs: pytest.fail("searched"))
    with pytest.raises(UserError, match=named):
        localize_video(localizer, VideoSource("walk", "features.hdf5", duration=3.0), queries, top_k, outputs)


def test_missing_plot_library_names_the_extra(localizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"matplotlib.*pip install \.\[plots\]"):
        localize_video(localizer, VideoSource("walk", "x.hdf5", duration=3.0), QUERIES, 3, Outputs(plot="found.png"))


def test_picture_of_too_many_queries_is_refused(localizer):
    with pytest.raises(UserError, match="a picture of 51 queries"):
        localize_video(localizer, VideoSource("walk", "x.hdf5"), QUERIES[:1] * 51, 3, Outputs(plot="found.png"))


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"backbone": "clip", "recipe_file": "features.hdf5"}, "give one of them"),
        ({"recipe_file": "none.hdf5"}, "none.hdf5 does not exist"),
        ({"backbone": "no_such_backbone"}, "no_such_backbone"),
    ],
)
def test_extractor_that_cannot_be_is_a_sentence(checkpoint, changes, named):
    with pytest.raises(UserError, match=named):
        load_localizer(ModelSource(checkpoint, None, ["MODEL.DEVICE", "cpu"], **changes))


def test_feature_file_without_a_recipe_cannot_give_one(checkpoint, feature_file):
    with pytest.raises(UserError, match="does not say how its features were made: give --backbone"):
        load_localizer(ModelSource(checkpoint, recipe_file=feature_file()))


# ---- The tool ----------------------------------------------------------------------------------------------------------


def test_tool_searches_a_video_by_its_features(checkpoint, feature_file, tmp_path):
    arguments = ["walk", *QUERIES, "--ckpt", checkpoint, "--features", feature_file(), "--duration", "30"]
    out = tmp_path / "found.jsonl"
    done = launch(1, "localize.py", *arguments, "--top-k", "2", "--json", out, "MODEL.DEVICE", "cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("walk, 30.0 s\n\nA man throws a ball.\n+")
    assert len(out.read_text().splitlines()) == 2


def test_tool_refuses_in_one_sentence(checkpoint, tmp_path):
    done = launch(1, "localize.py", tmp_path / "film.mp4", "a man", "--ckpt", tmp_path / "none.pth")
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: the checkpoint {tmp_path / 'none.pth'} does not exist: check the path"
