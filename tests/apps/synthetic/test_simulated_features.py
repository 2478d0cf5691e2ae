"""Simulated features: what the rows carry, where they stand in the file, and what cannot be used."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from processes import run_in_group
from transformers import AutoTokenizer

from mmn.apps.synthetic.options import SimulationOptions
from mmn.apps.synthetic.simulated_features import WordVectors, content_words, coverage, simulate_features
from mmn.utils.errors import ConfigError, DataError, UserError

ROOT = Path(__file__).parents[3]
DIM = 32
QUIET = SimulationOptions(dim=DIM, noise=0.0)
NOISY = SimulationOptions(dim=DIM, noise=2.0)
DOOR = {"duration": 10.0, "timestamps": [[2.0, 5.0]], "sentences": ["A person opens the door."]}
CUP = {"duration": 10.0, "timestamps": [[4.0, 8.0]], "sentences": ["She drops a cup."]}


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def simulate(tmp_path, *contents, options=QUIET, **kwargs):
    """Feature rows by video id, of annotation files with the given contents."""
    files = [write_json(tmp_path / f"{number}.json", content) for number, content in enumerate(contents)]
    out = simulate_features(files, tmp_path / "features.hdf5", options, log=lambda line: None, **kwargs)
    with h5py.File(out) as file:
        return {vid: file[options.feature_key.replace("{vid}", vid)][:] for content in contents for vid in content}


def sentence_vector(sentence):
    return WordVectors(DIM, 0).sentence(sentence)


def test_rows_inside_a_moment_carry_its_sentence(tmp_path):
    rows = simulate(tmp_path, {"v": DOOR})["v"]
    assert rows.shape == (10, DIM)
    assert rows.dtype == np.float32
    assert np.allclose(rows[2:5], sentence_vector(DOOR["sentences"][0]), atol=1e-6)
    assert not rows[:2].any() and not rows[5:].any()


def test_overlapping_moments_add(tmp_path):
    both = {"duration": 10.0, "timestamps": [[2, 5], [4, 8]], "sentences": DOOR["sentences"] + CUP["sentences"]}
    rows = simulate(tmp_path, {"v": both})["v"]
    assert np.allclose(rows[4], sentence_vector(DOOR["sentences"][0]) + sentence_vector(CUP["sentences"][0]), atol=1e-6)


def test_tacos_frames_are_divided_by_the_frame_rate(tmp_path):
    frames = {"fps": 25.0, "num_frames": 250, "timestamps": [[50, 125]], "sentences": DOOR["sentences"]}
    from_frames = simulate(tmp_path, {"v": frames})["v"]
    assert np.array_equal(from_frames, simulate(tmp_path, {"v": DOOR})["v"])


@pytest.mark.parametrize(
    ("duration", "fps", "num_rows"), [(10.0, 1.0, 10), (10.2, 1.0, 11), (0.3, 1.0, 1), (10.0, 2.5, 25)]
)
def test_number_of_rows_is_duration_times_rate_rounded_up(tmp_path, duration, fps, num_rows):
    entry = {"duration": duration, "timestamps": [[0, duration / 2]], "sentences": ["jump"]}
    rows = simulate(tmp_path, {"v": entry}, options=SimulationOptions(dim=4, noise=1.0, fps=fps))["v"]
    assert rows.shape == (num_rows, 4)


def test_row_partly_inside_a_moment_carries_that_share():
    shares = coverage(np.array([[1.0, 2.5], [0.0, 4.0]]), duration=4.0, num_rows=4)
    assert shares.dtype == np.float32
    assert shares.T.tolist() == [[0, 1, 0.5, 0], [1, 1, 1, 1]]


def test_moment_is_clamped_into_the_video_and_an_empty_one_dropped(tmp_path):
    entry = {"duration": 4.0, "timestamps": [[-1, 2], [3, 9], [3, 3]], "sentences": ["jump", "run", "sing"]}
    rows = simulate(tmp_path, {"v": entry})["v"]
    assert np.allclose(rows[1], sentence_vector("jump"), atol=1e-6)
    assert np.allclose(rows[3], sentence_vector("run"), atol=1e-6)


def test_noise_has_the_given_norm(tmp_path):
    entry = {"duration": 500.0, "timestamps": [[0, 1]], "sentences": ["jump"]}
    rows = simulate(tmp_path, {"v": entry}, options=NOISY)["v"][1:]
    assert np.sqrt((rows**2).sum(1).mean()) == pytest.approx(2.0, rel=0.05)


def test_feature_key_places_the_dataset_as_activitynet_does(tmp_path):
    options = SimulationOptions(dim=DIM, noise=0.0, feature_key="{vid}/c3d_features")
    simulate(tmp_path, {"v_1": DOOR}, options=options)
    with h5py.File(tmp_path / "features.hdf5") as file:
        assert file["v_1"]["c3d_features"].shape == (10, DIM)


def test_video_in_two_files_has_the_moments_of_both_once(tmp_path):
    rows = simulate(tmp_path, {"v": DOOR}, {"v": {**DOOR, **CUP}}, {"v": DOOR})["v"]
    assert np.allclose(rows[2], sentence_vector(DOOR["sentences"][0]), atol=1e-6)
    assert np.allclose(rows[7], sentence_vector(CUP["sentences"][0]), atol=1e-6)


def test_features_do_not_depend_on_the_order_of_files_and_videos(tmp_path):
    one = simulate(tmp_path, {"a": DOOR, "b": CUP}, {"a": CUP, "c": CUP}, options=NOISY)
    other = simulate(tmp_path, {"c": CUP, "a": CUP}, {"b": CUP, "a": DOOR}, options=NOISY)
    assert all(np.array_equal(one[vid], other[vid]) for vid in "abc")


def test_videos_have_noise_of_their_own(tmp_path):
    rows = simulate(tmp_path, {"a": DOOR, "b": DOOR}, options=NOISY)
    assert not np.allclose(rows["a"], rows["b"])


def word_vector(rank):
    return WordVectors(4, 3).word("door").tolist()


def test_word_vectors_are_the_same_in_another_process():
    assert run_in_group(word_vector, world_size=1) == [word_vector(0)]


def test_seed_decides_word_vectors():
    assert not np.allclose(WordVectors(8, 0).word("door"), WordVectors(8, 1).word("door"))


def test_sentence_vector_has_norm_one():
    assert np.linalg.norm(sentence_vector("He opens the door of the red car")) == pytest.approx(1)


@pytest.mark.parametrize(
    ("sentence", "words"), [("He is there", ["he", "is", "there"]), ("?!", ["?!"]), ("The Door", ["door"])]
)
def test_sentence_of_stop_words_keeps_them(sentence, words):
    assert content_words(sentence) == words


def test_file_says_that_it_is_simulated_and_how(tmp_path):
    simulate(tmp_path, {"v": DOOR}, options=NOISY)
    with h5py.File(tmp_path / "features.hdf5") as file:
        assert file.attrs["description"].startswith("SIMULATED")
        assert (file.attrs["dim"], file.attrs["noise"], file.attrs["fps"], file.attrs["seed"]) == (DIM, 2.0, 1.0, 0)


def test_text_encoder_knows_the_words_of_all_files(tmp_path):
    simulate(tmp_path, {"a": DOOR}, {"b": CUP}, text_encoder=tmp_path / "encoder")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "encoder").tokenize("opens cup")
    assert tokens == ["opens", "cup"]


def test_failed_run_leaves_the_old_file_and_nothing_temporary(tmp_path):
    out = tmp_path / "features.hdf5"
    out.write_text("old")
    annotation = write_json(tmp_path / "a.json", {"v": DOOR})

    def fail(line):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        simulate_features([annotation], out, QUIET, log=fail)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "features.hdf5"]


def test_progress_lines_count_the_videos(tmp_path):
    lines = []
    annotation = write_json(tmp_path / "a.json", {f"v{number}": DOOR for number in range(25)})
    simulate_features([annotation], tmp_path / "out.hdf5", QUIET, log=lines.append)
    assert lines[-1].endswith("25 of 25 videos")
    assert len(lines) <= 13


def test_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match="absent.json"):
        simulate_features([tmp_path / "absent.json"], tmp_path / "out.hdf5", QUIET)


def test_file_that_is_not_json_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text("not json")
    with pytest.raises(DataError, match="not valid json"):
        simulate_features([tmp_path / "a.json"], tmp_path / "out.hdf5", QUIET)


def test_entry_without_duration_is_an_error_that_names_the_keys(tmp_path):
    with pytest.raises(DataError, match="video v .* neither duration nor num_frames and fps"):
        simulate(tmp_path, {"v": {"timestamps": [[0, 1]], "sentences": ["jump"]}})


def test_entry_without_sentences_is_an_error_that_names_the_video(tmp_path):
    with pytest.raises(DataError, match="video v .* 'sentences'"):
        simulate(tmp_path, {"v": {"duration": 3.0, "timestamps": [[0, 1]]}})


def test_files_that_disagree_on_a_duration_are_an_error(tmp_path):
    with pytest.raises(DataError, match="lasts 12.00 s"):
        simulate(tmp_path, {"v": DOOR}, {"v": {**DOOR, "duration": 12.0}})


def test_no_annotation_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no annotation file"):
        simulate_features([], tmp_path / "out.hdf5", QUIET)


def test_unwritable_target_is_an_error_that_names_it(tmp_path):
    annotation = write_json(tmp_path / "a.json", {"v": DOOR})
    with pytest.raises(UserError, match="cannot be written"):
        simulate_features([annotation], tmp_path / "a.json" / "out.hdf5", QUIET)


@pytest.mark.parametrize(
    "wrong", [{"dim": 0}, {"noise": -1.0}, {"fps": 0.0}, {"seed": -1}, {"feature_key": "c3d_features"}]
)
def test_impossible_option_is_an_error(wrong):
    with pytest.raises(ConfigError):
        SimulationOptions(**{"dim": 4, "noise": 1.0, **wrong})
