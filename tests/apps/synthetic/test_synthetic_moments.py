"""The synthetic dataset: layout, determinism, and that its moments can be found by who understands the sentences."""

import json
import re

import h5py
import numpy as np
import pytest
from transformers import AutoTokenizer

from mmn.apps.synthetic import synthetic_moments as synthetic
from mmn.apps.synthetic.options import SyntheticOptions
from mmn.apps.synthetic.synthetic_moments import concept_vectors, make_features, make_video, write_synthetic_dataset
from mmn.data.annotations import read_annotations
from mmn.utils.errors import ConfigError

SMALL = SyntheticOptions(num_train=12, num_val=3, num_test=4, dim=16, seed=1)
NUM_CLIPS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("synthetic"), SMALL, log=lambda line: None)


def read_splits(folder):
    return {split: json.loads((folder / f"{split}.json").read_text()) for split in synthetic.SPLITS}


def read_features(folder):
    with h5py.File(folder / "features.hdf5") as file:
        return {vid: file[vid][:] for vid in file}


def test_annotations_have_the_layout_of_charades(folder):
    for split, count in (("train", 12), ("val", 3), ("test", 4)):
        videos = read_annotations(str(folder / f"{split}.json"), "seconds")
        assert len(videos) == count
        raw = json.loads((folder / f"{split}.json").read_text())
        assert all(list(entry) == ["duration", "timestamps", "sentences"] for entry in raw.values())
        assert [len(video.sentences) for video in videos] == [len(entry["sentences"]) for entry in raw.values()]


def test_splits_have_different_videos(folder):
    ids = [vid for entries in read_splits(folder).values() for vid in entries]
    assert len(ids) == len(set(ids)) == 19


def test_every_video_has_float32_rows_at_the_given_rate(folder):
    features = read_features(folder)
    entries = {vid: entry for split in read_splits(folder).values() for vid, entry in split.items()}
    assert features.keys() == entries.keys()
    for vid, rows in features.items():
        assert rows.dtype == np.float32
        assert rows.shape == (np.ceil(entries[vid]["duration"] * 2), 16)
        assert np.isfinite(rows).all()


def test_feature_file_says_that_it_is_synthetic(folder):
    with h5py.File(folder / "features.hdf5") as file:
        assert "not from real videos" in file.attrs["description"]
        assert file.attrs["seed"] == 1


def test_moments_lie_in_the_video_and_take_a_tenth_to_a_half_of_it():
    for index in range(100):
        video = make_video("train", index, seed=0)
        entry = video.annotation()
        assert 20 <= entry["duration"] <= 60
        assert 3 <= len(entry["sentences"]) <= 6
        for start, end in entry["timestamps"]:
            assert 0 <= start < end <= entry["duration"]
            assert 0.099 < (end - start) / entry["duration"] < 0.501


def test_segments_do_not_overlap_and_differ_in_their_action():
    for index in range(100):
        segments = make_video("test", index, seed=0).segments
        assert all(first.end < second.start for first, second in zip(segments, segments[1:], strict=False))
        assert len({(segment.verb, segment.object) for segment in segments}) == len(segments)


def test_every_video_has_a_distractor_and_most_share_a_concept():
    videos = [make_video("train", index, seed=0) for index in range(100)]
    assert all(any(segment.sentence is None for segment in video.segments) for video in videos)
    sharing = sum(
        len({segment.verb for segment in video.segments}) < len(video.segments)
        or len({segment.object for segment in video.segments}) < len(video.segments)
        for video in videos
    )
    assert sharing > 90


def test_sentences_say_their_concepts_in_several_forms_and_word_orders():
    segments = [segment for index in range(150) for segment in make_video("train", index, seed=0).segments]
    for verb, forms in synthetic.VERBS.items():
        said = " ".join(segment.sentence.lower() for segment in segments if segment.sentence and segment.verb == verb)
        assert all(re.search(rf"\b({'|'.join(form)})\b", said) for form in forms)
    objects_first = [
        segment.sentence
        for segment in segments
        if segment.sentence
        and re.match(r"(a|the) (" + "|".join(synthetic.OBJECTS[segment.object]) + ")", segment.sentence.lower())
    ]
    assert len(objects_first) > 50


def test_same_seed_gives_the_same_files(folder, tmp_path):
    again = write_synthetic_dataset(tmp_path, SMALL, log=lambda line: None)
    for name in (
        "train.json",
        "val.json",
        "test.json",
        "text_encoder/tokenizer.json",
        "text_encoder/model.safetensors",
    ):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    expected = read_features(folder)
    assert all(np.array_equal(rows, expected[vid]) for vid, rows in read_features(again).items())


def test_another_seed_gives_other_videos():
    assert make_video("train", 0, seed=0) != make_video("train", 0, seed=1)


def test_number_of_videos_does_not_change_the_others(folder, tmp_path):
    larger = SyntheticOptions(num_train=14, num_val=3, num_test=4, dim=16, seed=1)
    write_synthetic_dataset(tmp_path, larger, log=lambda line: None)
    assert read_splits(tmp_path)["test"] == read_splits(folder)["test"]
    assert np.array_equal(read_features(tmp_path)["train_0003"], read_features(folder)["train_0003"])


def test_text_encoder_knows_all_words_of_all_splits(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / "text_encoder")
    for entries in read_splits(folder).values():
        for entry in entries.values():
            for sentence in entry["sentences"]:
                assert tokenizer.unk_token_id not in tokenizer(sentence)["input_ids"]


def test_nothing_temporary_is_left_behind(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"train.json", "val.json", "test.json", "features.hdf5", "text_encoder"}


@pytest.mark.parametrize("wrong", [{"num_test": 0}, {"dim": 0}, {"seed": -1}, {"noise": float("nan")}])
def test_impossible_option_is_an_error_that_names_it(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SyntheticOptions(**wrong)


def clip_means(rows):
    """The mean of the L2-normalised rows in each of NUM_CLIPS equal parts, [T0, D] -> [NUM_CLIPS, D]."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    bounds = np.round(np.arange(NUM_CLIPS + 1) / NUM_CLIPS * len(rows)).astype(int)
    return np.stack([rows[start:end].mean(0) for start, end in zip(bounds, bounds[1:], strict=False)])


def hits_and_chance(concepts_of, num_videos=60):
    """R@1,IoU@0.5 of scoring every cell by mean cosine inside minus mean cosine outside, and of a random score.

    Args:
        concepts_of: segment -> names of the concepts that the query vector sums.
    """
    options = SyntheticOptions()
    concepts = concept_vectors(options.dim, options.seed)
    first, last = np.triu_indices(NUM_CLIPS)
    count = last - first + 1
    hits, chances = [], []
    for index in range(num_videos):
        video = make_video("test", index, options.seed)
        clips = clip_means(make_features(video, concepts, options, np.random.default_rng(index)))
        for segment in video.segments:
            if segment.sentence is None:
                continue
            query = sum(concepts[name] for name in concepts_of(segment))
            cosine = clips @ query / np.linalg.norm(clips, axis=1) / np.linalg.norm(query)
            total = np.concatenate([[0], np.cumsum(cosine)])
            inside = total[last + 1] - total[first]
            score = inside / count - (total[-1] - inside) / np.maximum(NUM_CLIPS - count, 1)
            start, end = first * video.duration / NUM_CLIPS, (last + 1) * video.duration / NUM_CLIPS
            overlap = np.maximum(np.minimum(end, segment.end) - np.maximum(start, segment.start), 0)
            iou = overlap / (np.maximum(end, segment.end) - np.minimum(start, segment.start))
            hits.append(iou[score.argmax()] >= 0.5)
            chances.append((iou >= 0.5).mean())
    return 100 * np.mean(hits), 100 * np.mean(chances)


def test_knowing_verb_and_object_finds_the_moment():
    hits, chance = hits_and_chance(lambda segment: (segment.verb, segment.object))
    assert hits > 82
    assert 4.5 < chance < 12


@pytest.mark.parametrize("known", ["verb", "object"])
def test_half_of_the_sentence_is_not_enough(known):
    hits, _ = hits_and_chance(lambda segment: (getattr(segment, known),))
    assert hits < 70
