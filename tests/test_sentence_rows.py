"""Splits whose tracks have `{qid}`: each sentence has feature rows of its own, from the catalog to the dump."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from test_qvhighlights_end_to_end import as_lines
from tiny import DIM, tiny_config

from mmn.config import override_config
from mmn.data.features import resample_clips
from mmn.data.moment_files import build_dataset, check_searchable
from mmn.data.sentence_dataset import SentenceCollator, SentenceDataset
from mmn.data.splits import Splits
from mmn.data.tokenizer import build_tokenizer
from mmn.engine.data_files import cache_features, check_data
from mmn.engine.run import test as run_test
from mmn.engine.run import train
from mmn.utils.errors import ConfigError, DataError, UserError

CPU = torch.device("cpu")
SPLITS = ("train", "val", "test")
WIDTH = 3  # of the rows that a sentence has of its own


@pytest.fixture
def lines(dataset_root, tmp_path):
    """The lines of each split: videos mixed, features for every video and for every sentence beside them."""
    found, entries = {}, {}
    (tmp_path / "own").mkdir()
    tracks = [
        {"path": str(dataset_root / "synthetic" / "features.hdf5"), "width": DIM},
        {"path": "own", "format": "npz", "file": "{vid}_{qid}.npz", "width": WIDTH},
    ]
    for split in SPLITS:
        found[split] = as_lines(json.loads((dataset_root / "synthetic" / f"{split}.json").read_text()), split)
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found[split]))
        entries[f"own_{split}"] = {"annotation": f"{split}.jsonl", "tracks": tracks, "metrics": "qvhighlights"}
        for line in found[split]:
            np.savez(own_file(tmp_path, line), features=own_rows(dataset_root, line))
    (tmp_path / "catalog.yaml").write_text(json.dumps(entries))
    return found


def own_file(folder, line):
    return folder / "own" / f"{line['vid']}_{line['qid']}.npz"


def video_rows(dataset_root, vid):
    with h5py.File(dataset_root / "synthetic" / "features.hdf5") as file:
        return file[vid][()]


def own_rows(dataset_root, line):
    seed = int.from_bytes(line["qid"].encode(), "big")
    count = len(video_rows(dataset_root, line["vid"]))
    return np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)


@pytest.fixture
def cfg(dataset_root, tmp_path, lines):
    options = ["PATHS_CATALOG", tmp_path / "catalog.yaml", "DATASETS.ROOT", tmp_path, "SOLVER.MAX_EPOCH", 1]
    options += ["MODEL.MMN.FEATPOOL.INPUT_SIZE", [DIM, WIDTH], "MODEL.MMN.LOSS.MEMORY_BANK", 4]
    options += ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", dataset_root / "synthetic" / "text_encoder"]
    for key in SPLITS:
        options += [f"DATASETS.{key.upper()}", f"('own_{key}',)"]
    return tiny_config(dataset_root, tmp_path / "out", *map(str, options))


def test_sentences_with_rows_of_their_own_are_checked_trained_on_tested_and_dumped(
    cfg, lines, dataset_root, tmp_path, capsys
):
    check_data(cfg)
    train(cfg, CPU, will_test=False)
    dump = tmp_path / "dump.jsonl"
    run_test(cfg, CPU, dump=str(dump))
    found = [json.loads(line) for line in dump.read_text().splitlines()]
    names = ("qid", "vid", "query")
    assert [[line[name] for name in names] for line in found] == [
        [line[name] for name in names] for line in lines["test"]
    ]
    assert all(np.allclose(*pair) for pair in zip(*(windows(part) for part in (found, lines["test"])), strict=True))
    assert f"own_test: 5 videos, {len(found)} sentences" in capsys.readouterr().out
    official = json.loads((tmp_path / "out" / "own_test_official_metrics.json").read_text())
    assert "MR-full-mAP" in official["brief"]


def windows(records):
    return [record["relevant_windows"] for record in records]


def test_clips_are_those_of_the_video_beside_those_of_the_sentence_from_files_and_from_the_clip_cache(
    cfg, lines, dataset_root, tmp_path
):
    cached_cfg = override_config(cfg, ["DATALOADER.CACHE_DIR", str(tmp_path / "clips")])
    cache_features(cached_cfg)
    num_clips = cfg.INPUT.NUM_PRE_CLIPS
    for dataset in (
        build_dataset(each, Splits(each).find("own_test"), build_tokenizer(cfg)) for each in (cfg, cached_cfg)
    ):
        assert len(dataset) == len(lines["test"])
        for number, line in enumerate(lines["test"]):
            clips = dataset.clips(number)
            wanted = resample_clips(video_rows(dataset_root, line["vid"]), num_clips)
            np.testing.assert_array_equal(clips[:, :DIM], wanted)
            np.testing.assert_array_equal(clips[:, DIM:], resample_clips(own_rows(dataset_root, line), num_clips))


def test_missing_files_of_sentences_are_counted_and_the_first_ten_named_by_their_file(cfg, lines, tmp_path, capsys):
    gone = lines["train"][3:15]
    for line in gone:
        own_file(tmp_path, line).unlink()
    named = ", ".join(own_file(tmp_path, line).name for line in gone[:10])
    with pytest.raises(DataError) as error:
        build_dataset(cfg, Splits(cfg).find("own_train"), build_tokenizer(cfg))
    assert f"lacks 12 of {len(lines['train'])} videos: {named}, ...; looked for them as" in str(error.value)
    with pytest.raises(UserError, match="12 problems"):
        check_data(cfg)
    assert f"video {gone[0]['vid']} (qid {gone[0]['qid']}) of the feature file" in capsys.readouterr().out


def test_sentences_of_one_video_with_rows_of_their_own_are_apart_in_batches_of_sentences(cfg, lines):
    dataset = build_dataset(cfg, Splits(cfg).find("own_train"), build_tokenizer(cfg), SentenceDataset)
    same = [number for number, line in enumerate(lines["train"]) if line["vid"] == lines["train"][0]["vid"]]
    batch = SentenceCollator(lambda ids: ids.astype(np.float32))([dataset[number] for number in same])
    assert batch.layout.counts == (1,) * len(same)
    assert set(batch.video_ids) == {lines["train"][0]["vid"]}


def test_annotations_without_qids_are_refused(cfg, dataset_root):
    split = Splits(cfg).find("own_train")
    entry = replace(split.entry, annotation=str(dataset_root / "synthetic" / "train.json"))
    with pytest.raises(DataError, match=r"video .* of .*train.json has a sentence without a qid.*\{qid\}"):
        build_dataset(cfg, replace(split, entry=entry), build_tokenizer(cfg))


def test_rows_of_sentences_are_not_searched_for_other_sentences(cfg):
    with pytest.raises(ConfigError, match=r"own_test has feature rows for each sentence.*\{vid\}"):
        check_searchable(Splits(cfg).find("own_test"))
