"""Tables of the probes, the controls of a model, and the tool."""

import json

import numpy as np
import pytest
import torch
from processes import launch
from tiny import ROOT, SYNTHETIC_CONFIG, tiny_options

from mmn.apps.probes.probe_tables import build_probe, describe, group_table
from mmn.apps.probes.shuffled_controls import CONTROLS, ShuffledSentences, ShuffledVideos, run_controls
from mmn.config import load_config
from mmn.data import Splits, build_dataset
from mmn.data.tokenizer import build_tokenizer
from mmn.modeling import build_model
from mmn.utils.errors import ConfigError, DataError


@pytest.fixture
def dataset(tiny_cfg):
    return build_dataset(tiny_cfg, Splits(tiny_cfg).find("synthetic_test"), build_tokenizer(tiny_cfg))


@pytest.fixture
def predictions(tiny_cfg, tmp_path):
    """A file that is right about every sentence of the test split."""
    probe = build_probe(tiny_cfg)
    lines = []
    for video in probe.test:
        for sentence, moment in zip(video.sentences, video.moments.tolist(), strict=True):
            record = {"qid": len(lines), "query": sentence, "relevant_windows": [moment]}
            lines.append(json.dumps(record | {"pred_relevant_windows": [[*moment, 1.0]]}))
    path = tmp_path / "predictions.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_no_video_keeps_its_features(dataset):
    shuffled = ShuffledVideos(dataset, 0)
    assert sorted(shuffled.source) == list(range(len(dataset)))
    for index in range(len(dataset)):
        sample = shuffled[index]
        assert shuffled.source[index] != index
        assert np.array_equal(sample.clips, dataset.clips(shuffled.source[index]))
        assert sample.annotation is dataset.videos[index]


def test_no_sentence_stays_in_its_video(dataset):
    shuffled = ShuffledSentences(dataset, 0)
    assert sorted(shuffled.source) == list(range(dataset.num_sentences))
    owner = np.repeat(np.arange(len(dataset)), np.diff(dataset.first_sentence))
    assert (owner[shuffled.source] != owner).all()
    for index, first in enumerate(dataset.first_sentence[:-1]):
        sample = shuffled[index]
        assert len(sample.tokens) == len(dataset.videos[index].sentences)
        assert np.array_equal(sample.tokens[0], dataset.tokens[shuffled.source[first]])


@pytest.mark.parametrize("control", [ShuffledVideos, ShuffledSentences])
def test_split_of_one_video_cannot_be_shuffled(dataset, control):
    dataset.videos, dataset.first_sentence = dataset.videos[:1], dataset.first_sentence[:2]
    with pytest.raises(DataError):
        control(dataset, 0)


def test_controls_of_a_checkpoint(tiny_cfg, tmp_path):
    model = build_model(tiny_cfg)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    results = run_controls(tiny_cfg, torch.device("cpu"), str(tmp_path / "model.pth"))
    assert list(results["synthetic_test"]) == list(CONTROLS)
    assert all("R@1,IoU@0.5" in metrics for metrics in results["synthetic_test"].values())


def test_groups_by_hand():
    ious = {"model": torch.tensor([[0.6], [0.8], [0.1]])}
    table = group_table(ious, (0.5, 0.7), np.array([0.1, 0.2, 0.5]), (0.2,), is_right_closed=True)
    assert table[2:] == ["| ≤ 0.2 | 2 | 100.00 / 50.00 |", "| > 0.2 | 1 | 0.00 / 0.00 |"]
    table = group_table(ious, (0.5, 0.7), np.array([0.1, 0.2, 0.5]), (0.2, 0.9), is_right_closed=False)
    assert [row.split("|")[1:3] for row in table[2:]] == [
        [" < 0.2 ", " 1 "],
        [" ≥ 0.2 and < 0.9 ", " 2 "],
        [" ≥ 0.9 ", " 0 "],
    ]


def test_tables_show_predictions_beside_the_priors(tiny_cfg, predictions):
    text = describe(build_probe(tiny_cfg), {"perfect": str(predictions)})
    assert "| perfect | 100.00 | 100.00 |" in text
    for part in ("prior-only: best on train", "query-only: words", "video-only: ceiling", "Batches of 2 videos"):
        assert part in text


def test_predictions_for_other_sentences_are_refused_by_name(tiny_cfg, predictions):
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    lines[3]["query"] = "something else"
    predictions.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="qid 3 has the query 'something else' in .* the split synthetic_test"):
        build_probe(tiny_cfg).read_ious(str(predictions))


def test_config_without_moments_is_refused():
    with pytest.raises(ConfigError, match="ARCHITECTURE STVG has no probes"):
        build_probe(load_config(str(ROOT / "configs" / "synthetic_stvg.yaml")))


def test_tool_writes_the_tables(dataset_root, tmp_path):
    options = tiny_options(dataset_root, tmp_path)
    done = launch(
        1, "probe_data.py", "--config-file", SYNTHETIC_CONFIG, "--out", tmp_path / "P.md", "--options", *options
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "P.md").read_text().startswith("# What the datasets give away\n")
