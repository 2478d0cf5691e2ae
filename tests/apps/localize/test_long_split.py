"""Splits of long videos in the layouts of MAD and Ego4D, made up, from their files to the table."""

import json

import numpy as np
import pytest
import torch
import yaml
from localizing import checkpoint_content
from tiny import tiny_config

from mmn.apps.localize.long_split import WindowOptions, test_long
from mmn.apps.synthetic.joined_videos import LONG_DATASETS, join_videos, write_long_videos
from mmn.apps.synthetic.options import SyntheticOptions
from mmn.config.load import override_config
from mmn.data import build_dataset
from mmn.data.moment_files import read_split
from mmn.data.splits import Splits
from mmn.data.tokenizer import build_tokenizer
from mmn.evaluation.prediction_file import read_predictions
from mmn.evaluation.recall import recall_above
from mmn.utils.errors import UserError

test_long.__test__ = False  # a function of the package, not of this file
SPLITS = {"mad": "mad_clip_test", "ego4d": "ego4d_slowfast_test"}
SIZES = {"mad": (512, 5.0), "ego4d": (2304, 1.875)}
RANKS = [1, 5, 20]


@pytest.fixture(scope="module", params=LONG_DATASETS)
def benchmark(request, dataset_root, tmp_path_factory):
    """(layout, config of a model and its split, checkpoint of the untrained model)"""
    root = tmp_path_factory.mktemp(request.param)
    write_long_videos(root, request.param, {"train": 1, "test": 2}, seconds=130.0)
    cfg = override_config(
        tiny_config(dataset_root, "output"),
        [
            *("MODEL.MMN.FEATPOOL.INPUT_SIZE", str(SIZES[request.param][0]), "DATASETS.ROOT", str(root)),
            *("DATASETS.TEST", f"('{SPLITS[request.param]}',)"),
        ],
    )
    torch.save(checkpoint_content(cfg), root / "model.pth")
    return request.param, cfg, str(root / "model.pth")


def test_annotations_of_the_layout_say_what_was_joined(benchmark):
    layout, cfg, _ = benchmark
    options = SyntheticOptions(dim=SIZES[layout][0], rows_per_second=SIZES[layout][1])
    videos = read_split(cfg, Splits(cfg).find(SPLITS[layout]))
    for found, joined in zip(videos, join_videos("test", 130.0, options), strict=False):
        assert found.sentences == joined.sentences
        np.testing.assert_allclose(found.moments, joined.moments, atol=0.02)


def test_network_is_trained_on_windows(benchmark):
    layout, cfg, _ = benchmark
    split = Splits(cfg).find(SPLITS[layout].replace("test", "train"))
    dataset = build_dataset(cfg, split, build_tokenizer(cfg))
    assert len(dataset) > 2 and {video.duration for video in dataset.videos} == {split.entry.window_seconds}
    assert dataset[len(dataset) - 1].clips.shape == (cfg.INPUT.NUM_PRE_CLIPS, SIZES[layout][0])


def test_table_is_that_of_the_dump_by_a_plain_count(benchmark, tmp_path, capsys):
    layout, cfg, ckpt = benchmark
    dump = tmp_path / "found.jsonl"
    metrics = test_long(cfg, ckpt, WindowOptions(), RANKS, str(dump))[SPLITS[layout]]
    found = read_predictions(str(dump))
    for rank in RANKS:
        for threshold in (0.1, 0.3, 0.5):
            hits = [prediction.ious()[:rank].max() > threshold for prediction in found]
            assert metrics[f"R@{rank},IoU>{threshold}"] == pytest.approx(sum(hits) / len(hits))
    assert metrics["R@1,IoU>0.5"] < metrics["R@20,IoU>0.1"]
    text = capsys.readouterr().out
    assert f"{SPLITS[layout]}: 2 videos, 0.1 hours, {len(found)} sentences" in text


def test_dump_has_the_ids_and_videos_of_the_files(benchmark, tmp_path):
    layout, cfg, ckpt = benchmark
    test_long(cfg, ckpt, WindowOptions(window=40.0), [1], str(tmp_path / "found.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    videos = read_split(cfg, Splits(cfg).find(SPLITS[layout]))
    assert [line["qid"] for line in lines] == [qid for video in videos for qid in video.qids]
    assert {line["vid"] for line in lines} == {"test_000", "test_001"}
    assert all(len(line["pred_relevant_windows"]) == 1 for line in lines)


@pytest.fixture
def plain_split(benchmark, tmp_path):
    """Config and checkpoint of a split of two films in JSON lines: (with truth or without) -> these."""
    layout, cfg, ckpt = benchmark
    videos = read_split(cfg, Splits(cfg).find(SPLITS[layout]))

    def make(with_truth):
        lines = [
            {"vid": video.video_id, "query": text, "duration": video.duration}
            | ({"relevant_windows": windows.tolist()} if with_truth else {})
            for video in videos
            for text, windows in zip(video.sentences[:2], video.windows, strict=False)
        ]
        (tmp_path / "plain.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        split = Splits(cfg).find(SPLITS[layout])
        tracks = [{name: value for name, value in vars(track).items() if value} for track in split.entry.tracks]
        entry = {"annotation": str(tmp_path / "plain.jsonl"), "tracks": tracks}
        (tmp_path / "catalog.yaml").write_text(yaml.safe_dump({"plain": entry}))
        places = ["PATHS_CATALOG", str(tmp_path / "catalog.yaml"), "DATASETS.TEST", "('plain',)"]
        return override_config(cfg, places), ckpt

    return make


def test_sentences_without_ids_are_told_apart_in_the_dump(plain_split, tmp_path):
    cfg, ckpt = plain_split(with_truth=True)
    test_long(cfg, ckpt, WindowOptions(window=40.0), [1], str(tmp_path / "found.jsonl"))
    assert [query.qid for query in read_predictions(str(tmp_path / "found.jsonl"))] == [0, 1, 2, 3]


def test_split_without_truth_is_searched_for_its_dump_alone(plain_split, tmp_path):
    cfg, ckpt = plain_split(with_truth=False)
    with pytest.raises(UserError, match="the split plain has no truth to score predictions by: give --dump"):
        test_long(cfg, "no checkpoint", WindowOptions(window=40.0), [1])
    assert test_long(cfg, ckpt, WindowOptions(window=40.0), [1], str(tmp_path / "found.jsonl")) == {}
    assert len((tmp_path / "found.jsonl").read_text().splitlines()) == 4


def test_dump_of_a_split_is_kept_where_a_later_one_fails(benchmark, tmp_path):
    layout, cfg, ckpt = benchmark
    first = SPLITS[layout]
    lines = [json.dumps({"vid": "none", "query": "a", "duration": 9.0, "relevant_windows": [[1, 2]]})]
    (tmp_path / "none.jsonl").write_text("\n".join(lines))
    entry = {"annotation": str(tmp_path / "none.jsonl"), "features": str(tmp_path / "none.hdf5")}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump({"broken": entry}))
    places = ["PATHS_CATALOG", str(tmp_path / "catalog.yaml"), "DATASETS.TEST", f"('{first}', 'broken')"]
    with pytest.raises(UserError, match="none.hdf5 does not exist"):
        test_long(override_config(cfg, places), ckpt, WindowOptions(window=40.0), [1], str(tmp_path / "found.jsonl"))
    assert read_predictions(str(tmp_path / f"found_{first}.jsonl"))


def test_stopped_test_loads_what_it_had_encoded(benchmark, tmp_path, monkeypatch):
    layout, cfg, ckpt = benchmark
    first = test_long(cfg, ckpt, WindowOptions(cache=str(tmp_path)), RANKS)
    monkeypatch.setattr(
        "mmn.apps.localize.moment_encoder.MomentEncoder.encode_windows", lambda *_: pytest.fail("encoded")
    )
    assert test_long(cfg, ckpt, WindowOptions(cache=str(tmp_path)), RANKS) == first


def test_moment_at_the_threshold_is_no_hit():
    ious = np.array([[0.3, 0.1, 0.5], [0.31, 0.0, 0.0]], dtype=np.float32)
    assert recall_above(ious, [1, 3], [0.3, 0.5]) == {
        "R@1,IoU>0.3": 0.5,
        "R@1,IoU>0.5": 0.0,
        "R@3,IoU>0.3": 1.0,
        "R@3,IoU>0.5": 0.0,
    }
