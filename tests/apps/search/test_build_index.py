"""tools/build_index.py and the package behind it: what gets into an index, what is left alone, what is refused."""

import json
import os
import re

import h5py
import numpy as np
import pytest
import torch
from index_data import assert_same_video
from localizing import RECIPE, checkpoint_content, colour_extractor, random_rows
from processes import launch
from small_videos import write_plain_video
from tiny import DIM, tiny_config

from mmn import MomentLocalizer
from mmn.apps.search.build_index import build_index
from mmn.apps.search.change_index import convert_index
from mmn.apps.search.indexed_video import BuildSettings, index_info, video_moments
from mmn.apps.search.vector_store import open_store
from mmn.apps.search.video_collections import FeatureCollection, FileCollection
from mmn.commands.frame import run_command
from mmn.utils.errors import ConfigError, DataError, UserError

LENGTHS = {"walk": (20, 30.0), "sit": (3, 8.5), "run": (41, 59.0), "swim": (90, 200.0), "jump": (16, 16.0)}
"""Feature rows and seconds of videos; `swim` is longer than what the model was trained on."""


@pytest.fixture(scope="module")
def checkpoint(dataset_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pth"
    torch.save(checkpoint_content(tiny_config(dataset_root, "output"), feature_recipe=RECIPE.to_dict()), path)
    return str(path)


@pytest.fixture(scope="module")
def localizer(checkpoint):
    localizer = MomentLocalizer.from_checkpoint(checkpoint, device="cpu")
    localizer.use_extractor(colour_extractor())
    return localizer


@pytest.fixture
def write_features(tmp_path):
    """({video: (rows, seconds)}, seeds of other rows than usual, layout) -> the path of the file."""

    def write(lengths=LENGTHS, seeds=None, key="{vid}", says_duration=True, recipe=RECIPE):
        path = str(tmp_path / "features.hdf5")
        with h5py.File(path, "w") as file:
            file.attrs.update(recipe.to_attributes() if recipe else {})
            for number, (name, (num_rows, seconds)) in enumerate(lengths.items()):
                dataset = file.create_dataset(
                    key.replace("{vid}", name), data=random_rows(num_rows, (seeds or {}).get(name, number))
                )
                if says_duration:
                    dataset.attrs["duration"] = seconds
        return path

    return write


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "index")


@pytest.fixture
def encoded(localizer, monkeypatch):
    """How many windows went through the network, in batches, since the test began."""
    batches, encode = [], localizer.encode_clips
    monkeypatch.setattr(localizer, "encode_clips", lambda clips: batches.append(len(clips)) or encode(clips))
    return batches


def build(localizer, path, place, key="{vid}", annotations=None, **options):
    return build_index(localizer, FeatureCollection(path, key, DIM, annotations), place, **options)


def counts(result):
    return result.num_new, result.num_replaced, result.num_unchanged, result.num_removed


def expected(localizer, name, settings=None, seed=None):
    num_rows, seconds = LENGTHS[name]
    rows = random_rows(num_rows, list(LENGTHS).index(name) if seed is None else seed)
    settings = settings or BuildSettings()
    return video_moments(localizer.encode_video(rows, seconds, settings.window, settings.overlap, name=name), settings)


def assert_close_video(found, wanted):
    """The same moments; vectors may differ by the rounding of a batch of another size."""
    assert (found.video_id, found.duration) == (wanted.video_id, wanted.duration)
    np.testing.assert_array_equal(found.moments, wanted.moments)
    for head in ("contrastive", "iou"):
        np.testing.assert_allclose(found.vectors(head), wanted.vectors(head), atol=2e-3)


# ---- What is in an index -----------------------------------------------------------------------------------------------


def test_index_holds_each_video_as_the_localizer_encodes_it(localizer, write_features, place):
    result = build(localizer, write_features(), place)
    assert counts(result) == (5, 0, 0, 0)
    with open_store(place) as index:
        assert list(index.videos()) == sorted(LENGTHS)
        assert index.info == index_info(localizer)
        for name in LENGTHS:
            assert_close_video(index.read(name), expected(localizer, name))


def test_vectors_are_of_unit_length_in_float16(localizer, write_features, place):
    build(localizer, write_features(), place)
    with open_store(place) as index:
        video = index.read("walk")
        assert video.contrastive.dtype == video.iou.dtype == np.float16
        np.testing.assert_allclose(np.linalg.norm(video.contrastive.astype(np.float32), axis=1), 1, atol=2e-3)
        assert len(video.moments) == len(localizer.cells)


def test_windows_of_several_videos_go_through_the_network_together(localizer, write_features, place, encoded):
    build(localizer, write_features(), place)
    num_windows = sum(
        len(localizer.prepare_video(random_rows(num_rows), seconds).spans) for num_rows, seconds in LENGTHS.values()
    )
    assert num_windows > len(LENGTHS)
    assert localizer.batch_size == 2
    assert encoded == [2] * (num_windows // 2) + [1] * (num_windows % 2)


def test_video_encoded_before_becomes_the_same(localizer):
    settings = BuildSettings(window=20.0, overlap=5.0)
    encoded = localizer.encode_video(random_rows(90, 3), 200.0, 20.0, 5.0, name="swim")
    assert_same_video(video_moments(encoded, settings), expected(localizer, "swim", settings))


def test_settings_are_those_of_the_index_from_then_on(localizer, write_features, place):
    settings = BuildSettings(window=25.0, overlap=5.0, prune=0.9)
    some = {name: LENGTHS[name] for name in ("walk", "sit")}
    build(localizer, write_features(some), place, settings=settings)
    build(localizer, write_features(), place)
    with open_store(place) as index:
        assert BuildSettings.of(index.info.build) == settings
        assert_close_video(index.read("run"), expected(localizer, "run", settings))


def test_video_files_are_indexed_with_their_paths(localizer, tmp_path, place, encoded):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("one", "two"):
        write_plain_video(folder / f"{name}.mp4", num_frames=40, fps=10)
    assert counts(build_index(localizer, FileCollection([str(folder)], localizer), place)) == (2, 0, 0, 0)
    with open_store(place) as index:
        assert {name: entry.path for name, entry in index.videos().items()} == {
            name: str(folder / f"{name}.mp4") for name in ("one", "two")
        }
        wanted = localizer.encode_video(str(folder / "one.mp4"))
        assert_close_video(index.read("one"), video_moments(wanted, BuildSettings()))
    write_plain_video(folder / "two.mp4", num_frames=50, fps=10)
    encoded.clear()
    assert counts(build_index(localizer, FileCollection([str(folder)], localizer), place)) == (0, 1, 1, 0)
    assert encoded == [1]


@pytest.mark.parametrize("key", ["features/{vid}", "{vid}/c3d", "a/b_{vid}_c/d"])
def test_videos_are_found_wherever_the_key_says(localizer, write_features, place, key):
    build(localizer, write_features(key=key), place, key)
    with open_store(place) as index:
        assert set(index.videos()) == set(LENGTHS)


def test_annotations_say_which_videos_are_meant_and_how_long_they_are(localizer, write_features, place, tmp_path):
    annotations = tmp_path / "test.json"
    entries = {"run": {"duration": 59.0}, "walk": {"num_frames": 750, "fps": 25}}
    annotations.write_text(json.dumps(entries))
    build(localizer, write_features(says_duration=False), place, annotations=str(annotations))
    with open_store(place) as index:
        assert {name: entry.duration for name, entry in index.videos().items()} == {"run": 59.0, "walk": 30.0}


# ---- Again -------------------------------------------------------------------------------------------------------------


def test_second_build_encodes_nothing(localizer, write_features, place, encoded):
    path = write_features()
    build(localizer, path, place)
    encoded.clear()
    assert counts(build(localizer, path, place)) == (0, 0, 5, 0)
    assert encoded == []


@pytest.mark.parametrize("engine", ["exact", "lance"])
def test_who_loses_the_race_for_a_new_index_opens_it(localizer, write_features, place, monkeypatch, engine):
    if engine == "lance":
        pytest.importorskip("lancedb")
    path = write_features()
    build(localizer, path, place, engine=engine)
    monkeypatch.setattr("mmn.apps.search.build_index.has_index", lambda place: False)  # as it was when this one looked
    build(localizer, path, place, engine=engine)
    with open_store(place) as index:
        assert sorted(index.videos()) == sorted(LENGTHS)


def test_new_videos_are_added_and_changed_ones_replaced(localizer, write_features, place):
    build(localizer, write_features({name: LENGTHS[name] for name in ("walk", "sit", "run")}), place)
    changed = {**LENGTHS, "sit": (3, 9.0)}
    result = build(localizer, write_features(changed, seeds={"walk": 77, "sit": 1, "run": 2}), place)
    assert counts(result) == (2, 2, 1, 0)
    with open_store(place) as index:
        assert index.videos()["sit"].duration == 9.0
        assert_close_video(index.read("walk"), expected(localizer, "walk", seed=77))


@pytest.mark.parametrize("removes_others", [True, False])
def test_videos_that_are_gone_leave_the_index_only_where_asked(localizer, write_features, place, removes_others):
    build(localizer, write_features(), place)
    some = {name: LENGTHS[name] for name in list(LENGTHS)[:3]}
    result = build(localizer, write_features(some), place, removes_others=removes_others)
    assert counts(result) == (0, 0, 3, 2 * removes_others)
    with open_store(place) as index:
        assert set(index.videos()) == set(some if removes_others else LENGTHS)


def test_video_that_cannot_be_used_is_reported_and_the_others_are_built(localizer, write_features, place):
    path = write_features()
    with h5py.File(path, "a") as file:
        file["sit"][0, 0] = np.nan
        del file["run"]
        file["run"] = np.zeros((4, DIM + 1), np.float32)
        file["run"].attrs["duration"] = 59.0
    with pytest.raises(UserError, match="2 of 5 videos could not be used"):
        build(localizer, path, place)
    with open_store(place) as index:
        assert set(index.videos()) == {"walk", "swim", "jump"}
    with h5py.File(path, "a") as file:
        file["sit"][0, 0] = 0
        del file["run"]
        file["run"] = random_rows(41, 2)
        file["run"].attrs["duration"] = 59.0
    result = build(localizer, path, place)
    assert counts(result) == (2, 0, 3, 0)


def test_video_of_unknown_length_does_not_end_the_build(localizer, write_features, place):
    path = write_features()
    with h5py.File(path, "a") as file:
        del file["walk"].attrs["duration"]
    with pytest.raises(UserError, match="1 of 5 videos could not be used"):
        build(localizer, path, place)
    with open_store(place) as index:
        assert set(index.videos()) == set(LENGTHS) - {"walk"}


# ---- What is refused ---------------------------------------------------------------------------------------------------


def test_another_model_is_refused(dataset_root, localizer, write_features, place, tmp_path):
    path = write_features()
    build(localizer, path, place)
    content = checkpoint_content(tiny_config(dataset_root, "output"), feature_recipe=RECIPE.to_dict())
    next(iter(content["model"].values())).mul_(1.5)
    torch.save(content, tmp_path / "other.pth")
    other = MomentLocalizer.from_checkpoint(tmp_path / "other.pth", device="cpu")
    with pytest.raises(ConfigError, match="was built by .*model.pth, and the checkpoint .*other.pth is another model"):
        build(other, path, place)


def test_features_of_another_recipe_are_refused(dataset_root, write_features, place, tmp_path):
    torch.save(checkpoint_content(tiny_config(dataset_root, "output")), tmp_path / "any.pth")
    localizer = MomentLocalizer.from_checkpoint(tmp_path / "any.pth", device="cpu")
    build(localizer, write_features(), place)
    other = type(RECIPE)(**{**RECIPE.to_dict(), "fps": 5.0})
    with pytest.raises(DataError, match="differs in fps"):
        build(localizer, write_features(recipe=other), place)


def test_features_that_the_model_was_not_trained_on_are_refused_at_once(localizer, write_features, place):
    other = type(RECIPE)(**{**RECIPE.to_dict(), "fps": 5.0})
    with pytest.raises(DataError, match="was trained on .* differs in fps"):
        build(localizer, write_features(recipe=other), place)
    assert not os.path.exists(place)


@pytest.mark.parametrize("settings", [BuildSettings(window=12.0), BuildSettings(prune=0.99)])
def test_other_settings_than_those_of_the_index_are_refused(localizer, write_features, place, settings):
    path = write_features()
    build(localizer, path, place)
    with pytest.raises(ConfigError, match="was built with window default, overlap default, prune default, not with"):
        build(localizer, path, place, settings=settings)


def test_features_without_a_duration_are_refused_at_once(localizer, write_features, place):
    with pytest.raises(DataError, match="does not say how long .* is: give the annotation file.*--annotations"):
        build(localizer, write_features(says_duration=False), place)
    assert not os.path.exists(place)


@pytest.mark.parametrize("entry", [{}, {"duration": "long"}, {"num_frames": 3, "fps": 0}, {"duration": -1}])
def test_annotations_without_a_duration_are_refused(localizer, write_features, place, tmp_path, entry):
    (tmp_path / "test.json").write_text(json.dumps({"walk": entry}))
    with pytest.raises(DataError, match="video walk of .*test.json"):
        build(localizer, write_features(), place, annotations=str(tmp_path / "test.json"))


def test_key_that_finds_no_video_is_refused(localizer, write_features, place):
    with pytest.raises(DataError, match="has no video under '{vid}/c3d': correct --feature-key"):
        build(localizer, write_features(), place, "{vid}/c3d")
    with pytest.raises(ConfigError, match="must have {vid} in it"):
        build(localizer, write_features(), place, "walk")


@pytest.mark.parametrize("prune", [0.0, -0.5, 1.5, float("nan")])
def test_cosines_that_cannot_be_are_refused(prune):
    with pytest.raises(ConfigError, match="must lie above 0 and at most at 1"):
        BuildSettings(prune=prune)


# ---- Copies ------------------------------------------------------------------------------------------------------------


def test_index_is_copied_to_another_place(localizer, write_features, place, tmp_path):
    build(localizer, write_features(), place)
    target = str(tmp_path / "copy")
    convert_index(place, target, "exact")
    with open_store(place) as index, open_store(target) as copy:
        assert (copy.info, dict(copy.videos())) == (index.info, dict(index.videos()))
        for name in LENGTHS:
            assert_same_video(copy.read(name), index.read(name))
    with pytest.raises(ConfigError, match="to itself"):
        convert_index(place, place + "/")


# ---- The tool ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tool():
    """Arguments -> what `mmn index` does with them, in this process."""
    return lambda *words: run_command("index", [*map(str, words)], tool="")


def test_tool_builds_prunes_removes_and_copies(tool, checkpoint, localizer, write_features, place, tmp_path):
    common = ("--ckpt", checkpoint, "--index", place, "--device", "cpu")
    tool(*common, "--features", write_features({"walk": LENGTHS["walk"]}), "--prune", 0.95, "--window", 20)
    tool(*common, "--features", write_features())
    tool("--index", place, "--remove", "sit", "swim")
    tool("--index", tmp_path / "copy", "--from", place)
    settings = BuildSettings(window=20.0, prune=0.95)
    with open_store(str(tmp_path / "copy")) as index:
        assert set(index.videos()) == set(LENGTHS) - {"sit", "swim"}
        for name in index.videos():
            assert_close_video(index.read(name), expected(localizer, name, settings))


def test_tool_without_a_checkpoint_names_the_dual_encoder_and_how_to_get_it(
    tool, write_features, place, capsys, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit):
        tool("--features", write_features(), "--index", place)
    said = capsys.readouterr().err
    assert re.search("since no --ckpt is given: a dual encoder that was never trained to find moments", said)
    assert re.search("hf download openai/clip-vit-base-patch32.*--ckpt zero-shot:FOLDER.*zero-shot:conse", said)


def test_several_processes_build_one_index(checkpoint, localizer, write_features, place):
    done = launch(2, "build_index.py", "--ckpt", checkpoint, "--features", write_features(), "--index", place)
    assert done.returncode == 0, done.stderr
    assert "5 videos with" in done.stderr
    assert len(os.listdir(os.path.join(place, "segments"))) == 1  # of both processes, put together
    with open_store(place) as index:
        assert set(index.videos()) == set(LENGTHS)
        for name in LENGTHS:
            assert_close_video(index.read(name), expected(localizer, name))
