"""The rendered dataset's files."""

import json

import numpy as np
import pytest
from transformers import AutoModel, AutoTokenizer

pytest.importorskip("av", reason="PyAV is not installed: pip install .[video]")

from mmn.apps.synthetic.options import ShapeOptions
from mmn.apps.synthetic.shape_dataset import make_videos, write_shape_dataset
from mmn.apps.synthetic.shape_rendering import render
from mmn.apps.video.decode import iter_frames, probe
from mmn.data.annotations import read_annotations
from mmn.utils.errors import ConfigError

SMALL = ShapeOptions(num_train=3, num_val=1, num_test=2, size=32, fps=10, min_seconds=3.2, max_seconds=4, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_shape_dataset(tmp_path_factory.mktemp("pixels"), SMALL, log=lambda line: None)


def test_annotations_have_the_layout_of_charades(folder):
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        assert len(read_annotations(str(folder / f"{split}.json"), "seconds")) == count
        raw = json.loads((folder / f"{split}.json").read_text())
        assert all(list(entry) == ["duration", "timestamps", "sentences"] for entry in raw.values())


def test_every_annotated_video_is_a_file_of_its_length_and_size(folder):
    entries = {
        vid: entry for split in ("train", "val", "test") for vid, entry in read(folder, split).items()
    }  # fmt: skip
    assert {path.stem for path in (folder / "videos").iterdir()} == entries.keys()
    for vid, entry in entries.items():
        info = probe(folder / "videos" / f"{vid}.mp4")
        assert (info.width, info.height, info.frame_rate) == (32, 32, 10)
        assert info.duration == pytest.approx(entry["duration"], abs=1e-3)


def read(folder, split):
    return json.loads((folder / f"{split}.json").read_text())


def test_video_file_shows_what_was_rendered(folder):
    video = make_videos("test", SMALL)["test_0001"]
    shown = np.stack([frame.image for frame in iter_frames(folder / "videos" / "test_0001.mp4")]).astype(float)
    rendered = np.stack(list(render(video, SMALL.size)))
    assert shown.shape == rendered.shape
    # Colours are coded at half the resolution, so that edges differ and areas do not.
    assert np.abs(shown - rendered).mean() < 5


def test_several_threads_write_the_same_files(folder, tmp_path):
    again = write_shape_dataset(tmp_path, ShapeOptions(**{**vars(SMALL), "workers": 2}), log=lambda line: None)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        other = again / path.relative_to(folder)
        if path.suffix == ".mp4":  # rarely the encoder rounds a frame another way
            for one, another in zip(iter_frames(path), iter_frames(other), strict=True):
                assert one.time == another.time
                assert np.abs(one.image.astype(int) - another.image).mean() < 1
        else:
            assert other.read_bytes() == path.read_bytes(), path.name


def test_more_videos_leave_the_others_as_they_are():
    more = ShapeOptions(**{**vars(SMALL), "num_train": 5})
    assert make_videos("train", SMALL).items() <= make_videos("train", more).items()


def test_text_encoder_knows_all_words_of_the_sentences(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / "text_encoder")
    assert AutoModel.from_pretrained(folder / "text_encoder").config.dim == 64
    sentences = [text for entry in read(folder, "train").values() for text in entry["sentences"]]
    assert not any(tokenizer.unk_token_id in tokenizer(text)["input_ids"] for text in sentences)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_test": 0},
        {"size": 33},
        {"size": 8},
        {"fps": 0},
        {"seed": -1},
        {"workers": 0},
        {"min_seconds": 30},
        {"fps": 2},
    ],
)
def test_impossible_option_is_a_sentence(wrong):
    with pytest.raises(ConfigError, match="the rendered dataset's"):
        ShapeOptions(**wrong)
