"""Bad input ends in one sentence that names file, video or key: issue by issue, and through the tools as a user sees it."""

import json

import hostile
import numpy as np
import pytest
from processes import launch
from tiny import SYNTHETIC_CONFIG, tiny_options

from mmn.apps.ablation.sweep_rows import read_rows
from mmn.apps.convert.array_pickle import load_array_pickle
from mmn.apps.localize.model_source import read_recipe
from mmn.apps.video.decode import probe
from mmn.apps.visual.training_curves import read_metrics
from mmn.config import load_config, validate
from mmn.config.paths_catalog import get_entry, load_catalog
from mmn.data.annotations import read_annotations
from mmn.data.features import FeatureFile
from mmn.data.tokenizer import QueryTokenizer
from mmn.data.tube_annotations import TubeFile
from mmn.evaluation.map_file import MapFile
from mmn.evaluation.prediction_file import read_predictions
from mmn.utils.checkpoint import load_checkpoint
from mmn.utils.errors import UserError


def assert_is_a_sentence(error, *named):
    text = str(error.value)
    assert all(name in text for name in named), text
    assert "\n" not in text.strip()
    assert "Traceback" not in text


# ---- Refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", hostile.ANNOTATIONS)
def test_annotations_are_refused(tmp_path, kind):
    text, named = hostile.ANNOTATIONS[kind]
    path = tmp_path / "split.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as error:
        read_annotations(str(path))
    assert_is_a_sentence(error, "split.json", named)


@pytest.mark.parametrize("kind", hostile.FEATURES)
def test_features_are_refused_before_training(tmp_path, kind):
    content, named = hostile.FEATURES[kind]
    path = tmp_path / "features.hdf5"
    hostile.write_features(path, content)
    with pytest.raises(UserError) as error:
        FeatureFile(str(path), "{vid}", hostile.DIM, waits=()).check(["video"])
    assert_is_a_sentence(error, "features.hdf5", "video", named)


@pytest.mark.parametrize(
    "read",
    [
        read_annotations,
        read_predictions,
        read_metrics,
        load_array_pickle,
        load_checkpoint,
        load_catalog,
        load_config,
        read_rows,
        probe,
        MapFile,
        lambda path: FeatureFile(path, "{vid}", hostile.DIM).check(["video"]),
        lambda path: TubeFile(path, "{vid}").check(["video"]),
        read_recipe,
    ],
)
def test_folder_where_a_file_is_expected_is_said_to_be_one(tmp_path, read):
    path = str(tmp_path / "folder.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match="is a folder") as error:
        read(path)
    assert_is_a_sentence(error, "folder.yaml")


@pytest.mark.parametrize("kind", hostile.CONFIGS)
def test_config_is_refused(kind):
    options, named = hostile.CONFIGS[kind]
    with pytest.raises(UserError) as error:
        cfg = load_config(SYNTHETIC_CONFIG, options)
        validate(cfg)
        get_entry(cfg.DATASETS.TRAIN[0], load_catalog(cfg.PATHS_CATALOG))
    assert_is_a_sentence(error, named)


# ---- Odd, but to be worked with ----------------------------------------------------------------------------------------


TEXTS = {
    "umlauts": "Die Tür fällt zu",
    "Japanese": "人が歩く",
    "right to left": "الرجل يفتح الباب",
    "combining, emoji and direction marks": "e\u0301 \u202e\U0001f3a5\u200f",
    "2,000 words": "word " * 2000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_of_any_kind_is_tokenised(dataset_root, tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(hostile.annotations(sentences=[text]), encoding="utf-8")
    (video,) = read_annotations(str(path))
    assert video.sentences == [text]
    tokenizer = QueryTokenizer(str(dataset_root / "synthetic" / "text_encoder"))
    (ids,) = tokenizer(video.sentences)
    assert 2 <= len(ids) <= tokenizer.max_length


def test_times_beyond_the_duration_end_with_the_video(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(hostile.annotations(timestamps=[[-1, 12]]))
    assert read_annotations(str(path))[0].moments.tolist() == [[0, 10]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("num_rows", [1, 2])
def test_features_of_any_float_type_and_few_rows_are_read(tmp_path, dtype, num_rows):
    path = tmp_path / "features.hdf5"
    hostile.write_features(path, np.full((num_rows, hostile.DIM), 0.5, dtype))
    rows = FeatureFile(str(path), "{vid}", hostile.DIM).read("video")
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0.5] * hostile.DIM] * num_rows


# ---- Through the tools -------------------------------------------------------------------------------------------------


def refusal(done):
    """The sentence of a tool that ended with exit code 2 and no traceback."""
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stderr.strip().splitlines()[-1] == line
    return line


@pytest.fixture
def bad_dataset(dataset_root, tmp_path):
    """(options for a dataset whose training annotations are damaged, their path)."""
    folder = tmp_path / "dataset" / "synthetic"
    folder.mkdir(parents=True)
    for source in (dataset_root / "synthetic").iterdir():
        (folder / source.name).symlink_to(source)
    path = next(path for path in folder.iterdir() if path.name.startswith("train"))
    content = json.loads(path.read_text())
    path.unlink()
    first, second, third = list(content)[:3]
    content[first]["duration"] = 0
    content[second]["sentences"] = content[second]["sentences"][1:]
    content["nobody has this video"] = content[third]
    path.write_text(json.dumps(content))
    return tiny_options(tmp_path / "dataset", tmp_path / "output"), path


def test_training_on_bad_annotations_is_a_sentence(bad_dataset):
    options, path = bad_dataset
    sentence = refusal(launch(1, "train_net.py", "--config-file", SYNTHETIC_CONFIG, *options))
    assert str(path) in sentence


def test_debugging_shows_the_traceback(bad_dataset):
    options, _ = bad_dataset
    done = launch(1, "train_net.py", "--config-file", SYNTHETIC_CONFIG, *options, MMN_DEBUG="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_check_data_lists_all_problems_at_once(bad_dataset):
    options, _ = bad_dataset
    done = launch(1, "check_data.py", "--config-file", SYNTHETIC_CONFIG, *options)
    assert "the datasets have 3 problems" in refusal(done)
    assert len([line for line in done.stdout.splitlines() if line.startswith("synthetic_train: video")]) == 3


def test_output_folder_below_a_file_is_a_sentence(dataset_root, tmp_path):
    (tmp_path / "file").write_text("")
    options = tiny_options(dataset_root, tmp_path / "file" / "output")
    done = launch(1, "train_net.py", "--config-file", SYNTHETIC_CONFIG, *options)
    assert "must be a folder, but a file stands there" in refusal(done)


def test_test_batch_that_the_processes_do_not_divide_is_a_sentence(dataset_root, tmp_path):
    options = [*tiny_options(dataset_root, tmp_path), "TEST.BATCH_SIZE", "3"]
    arguments = ["--processes", "2", "--master-port", "29777", "tools/test_net.py", "--config-file", SYNTHETIC_CONFIG]
    done = launch(1, "launch.py", *arguments, *options)
    assert "TEST.BATCH_SIZE is 3" in refusal(done)
