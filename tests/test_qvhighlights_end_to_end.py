"""A dataset in QVHighlights' form, trained and tested by the tools: several moments per sentence, qids, saliency."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from processes import launch
from tiny import SYNTHETIC_CONFIG, tiny_options

from mmn.evaluation.qvhighlights_file import score_qvhighlights_file


def as_lines(content, split):
    """The annotations of a json file as JSON lines, videos mixed, with two more moments in every other sentence."""
    lines = []
    for vid, entry in content.items():
        duration = entry["duration"]
        for number, (query, window) in enumerate(zip(entry["sentences"], entry["timestamps"], strict=True)):
            windows = [window]
            if number % 2:
                windows += [[0, duration / 8], [duration / 2, duration]]
            lines.append({"qid": f"{split}-{vid}-{number}", "query": query, "vid": vid, "duration": duration})
            lines[-1]["relevant_windows"] = windows
            lines[-1]["relevant_clip_ids"] = [0, 1]
            lines[-1]["saliency_scores"] = [[4, 2, number % 5], [0, 3, 1]]
    return lines[::2] + lines[1::2]


@pytest.fixture(scope="module")
def trained(dataset_root, tmp_path_factory):
    """(folder, options of the tools, prediction file, what testing printed) of one epoch and its test."""
    folder = tmp_path_factory.mktemp("qvhighlights")
    entries = {}
    for split in ("train", "val", "test"):
        lines = as_lines(json.loads((dataset_root / "synthetic" / f"{split}.json").read_text()), split)
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        entries[f"lines_{split}"] = {
            "annotation": str(folder / f"{split}.jsonl"),
            "features": "synthetic/features.hdf5",
            "metrics": "qvhighlights",
        }
    (folder / "catalog.yaml").write_text(yaml.safe_dump(entries))
    splits = {key: f"('lines_{key.lower()}',)" for key in ("TRAIN", "VAL", "TEST")}
    options = [*tiny_options(dataset_root, folder / "output"), "PATHS_CATALOG", folder / "catalog.yaml"]
    for key, names in splits.items():
        options += [f"DATASETS.{key}", names]
    options = [str(option) for option in [*options, "SOLVER.MAX_EPOCH", 1]]
    done = launch(1, "train_net.py", "--config-file", SYNTHETIC_CONFIG, "--skip-test", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    dump = folder / "dump.jsonl"
    done = launch(1, "test_net.py", "--config-file", SYNTHETIC_CONFIG, "--dump", str(dump), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, options, dump, done.stdout


def test_dump_is_a_submission_of_qvhighlights(trained):
    folder, _, dump, _ = trained
    truth = {line["qid"]: line for line in map(json.loads, (folder / "test.jsonl").read_text().splitlines())}
    found = {line["qid"]: line for line in map(json.loads, dump.read_text().splitlines())}
    assert found.keys() == truth.keys()
    for qid, line in found.items():
        assert (line["vid"], line["query"]) == (truth[qid]["vid"], truth[qid]["query"])
        assert np.allclose(line["relevant_windows"], truth[qid]["relevant_windows"])
        assert len(line["pred_saliency_scores"]) == int(line["duration"] / 2)
        assert all(len(window) == 3 for window in line["pred_relevant_windows"])


def test_metrics_file_of_the_test_is_that_of_the_dump(trained, tmp_path):
    folder, _, dump, printed = trained
    score_qvhighlights_file(str(dump), str(folder / "test.jsonl"), str(tmp_path / "metrics.json"))
    wanted = json.loads((tmp_path / "metrics.json").read_text())
    assert json.loads((folder / "output" / "lines_test_official_metrics.json").read_text()) == wanted
    assert "HL-min-VeryGood-mAP" in printed
    assert "lines_test: 5 videos, " in printed
    assert "IoU >= threshold" in printed


def test_annotations_without_what_the_metrics_need_are_refused_before_anything_is_predicted(trained):
    _, options, _, _ = trained
    asked = ["--metrics", "qvhighlights", *options, "DATASETS.TEST", "('synthetic_test',)"]
    done = launch(1, "test_net.py", "--config-file", SYNTHETIC_CONFIG, *asked)
    assert done.returncode == 2
    assert "JSON lines are expected" in done.stderr
    assert not done.stdout


def test_other_metrics_are_had_by_name(trained, tmp_path):
    _, options, dump, _ = trained
    out = str(tmp_path / "detr.json")
    done = launch(
        1, "test_net.py", "--config-file", SYNTHETIC_CONFIG, "--metrics", "detr", "--official-out", out, *options
    )
    assert done.returncode == 0, done.stderr[-3000:]
    evaluated = launch(1, "evaluate.py", "--predictions", str(dump), "--metrics", "detr").stdout
    names = ["R1@0.5", "R1@0.7", "mAP", "mAP@0.5", "mAP@0.75"]
    assert list(json.loads(Path(out).read_text())["brief"]) == names
    assert evaluated.splitlines()[-2] == done.stdout.splitlines()[-2]
