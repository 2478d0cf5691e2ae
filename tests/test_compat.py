"""Files that an earlier version wrote are read, and give what they gave then; tests/compat/README.md says which."""

import json
import math
import os
import shutil

import h5py
import numpy as np
import pytest
import yaml
from processes import launch
from tiny import ROOT

from mmn.apps.search.vector_store import open_store
from mmn.config import load_config
from mmn.config.load import config_values
from mmn.evaluation.map_file import MapFile
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.checkpoint import load_checkpoint

WRITTEN = ROOT / "tests" / "compat" / "files"
CONFIG = ("--config-file", "run/config.yml")
CHECKPOINT = ("--ckpt", "run_whole/pool_model_2e.pth")
CLOSE = 1e-4  # two scores that are nearer may change places where another processor rounds differently


@pytest.fixture
def folder(tmp_path):
    """A copy of the files, for the tools to run in."""
    return shutil.copytree(WRITTEN, tmp_path / "files")


def run(folder, tool, *args, **environment):
    done = launch(1, tool, *args, folder=folder, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def table_of(text):
    return [line for line in text.splitlines() if line.startswith(("|", "+-"))]


def values_of(text):
    """{column: value} of a printed table, as printed."""
    names, values = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table_of(text) if line[0] == "|")
    return dict(zip(names, values, strict=True))


def assert_same_ranking(found, wanted):
    """Rows (..., score), best first: equal scores, and equal moments where their scores are not too close to others."""
    scores = [[row[-1] for row in rows] for rows in (found, wanted)]
    np.testing.assert_allclose(*scores, atol=CLOSE / 10)
    gaps = -np.diff([math.inf, *scores[1], -math.inf])
    for place, pair in enumerate(zip(found, wanted, strict=True)):
        if min(gaps[place], gaps[place + 1]) > CLOSE:
            first, second = (row[:-1] for row in pair)
            assert first == pytest.approx(second, abs=1e-3)


def test_config_of_a_run_means_what_it_says():
    cfg = config_values(load_config(str(WRITTEN / "run" / "config.yml")))

    def leaves(tree, prefix=""):
        for name, value in tree.items():
            yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]

    for key, value in leaves(yaml.safe_load((WRITTEN / "run" / "config.yml").read_text())):
        assert cfg[key] == (tuple(value) if isinstance(cfg[key], tuple) else value), key


def test_run_goes_on_in_the_middle_of_an_epoch(folder):
    """With its averaged weights and its memory bank: the next losses, and the next evaluation."""
    done = run(folder, "train_net.py", *CONFIG, "--skip-test", "SOLVER.RESUME", "True")
    assert "continuing after epoch 1 and 2 iterations" in done.stderr
    found, wanted = (read_lines(folder / name / "metrics.jsonl") for name in ("run", "run_whole"))
    assert len(found) == len(wanted)
    for row, before in zip(found, wanted, strict=True):
        assert row.keys() >= before.keys()
        for name in {"epoch", "step", "loss", "vid", "sent", "iou", "lr", "bert_lr"} & before.keys():
            assert row[name] == pytest.approx(before[name], rel=1e-4), name
    ends = [load_checkpoint(str(folder / name / "pool_model_2e.pth"))["model"] for name in ("run", "run_whole")]
    for name, before in ends[1].items():
        if not name.endswith("bias"):  # the gradient of some is zero but for rounding, which AdamW makes steps of
            np.testing.assert_allclose(
                ends[0][name], before, rtol=1e-3, atol=1e-3 * before.abs().max().item(), err_msg=name
            )


@pytest.fixture
def tested(folder):
    """The folder, with the predictions and the maps of the final checkpoint."""
    run(folder, "test_net.py", *CONFIG, *CHECKPOINT, "--dump", "again.jsonl", "--dump-maps", "again.h5")
    return folder


def test_final_checkpoint_gives_the_recorded_predictions_and_maps(tested):
    found, wanted = (read_lines(tested / name) for name in ("again.jsonl", "predictions.jsonl"))
    for record, before in zip(found, wanted, strict=True):
        assert record | {"pred_relevant_windows": 0} == before | {"pred_relevant_windows": 0}
        assert_same_ranking(record["pred_relevant_windows"], before["pred_relevant_windows"])
    found, wanted = (MapFile(str(tested / name)) for name in ("again.h5", "maps.h5"))
    assert list(found.ids) == list(wanted.ids)
    for qid in wanted.ids:
        assert found.sentence(qid) == wanted.sentence(qid)
        for name in ("contrastive", "iou", "final"):
            maps = (getattr(file.maps(qid), name) for file in (found, wanted))
            np.testing.assert_allclose(*maps, atol=1e-3)


def test_prediction_file_has_the_recorded_table(folder):
    printed = run(folder, "evaluate.py", "--predictions", "predictions.jsonl").stdout
    assert values_of((folder / "table.txt").read_text()).items() <= values_of(printed).items()


def test_tube_checkpoint_gives_the_recorded_predictions_and_their_table(folder):
    run(folder, "test_net.py", "--config-file", "tubes/config.yml", "--dump", "again.json")
    found, wanted = (json.loads((folder / name).read_text()) for name in ("again.json", "tubes.json"))
    assert found.keys() == wanted.keys()
    truth = ("--annotations", "dataset/synthetic_stvg/test.json")
    printed = run(folder, "evaluate.py", "--predictions", "tubes.json", *truth).stdout
    assert values_of((folder / "tubes_table.txt").read_text()).items() <= values_of(printed).items()


def test_clip_cache_and_its_feature_file_are_read(folder):
    """The time of a file does not survive version control; the cache knows it."""
    features = folder / "dataset" / "pixels" / "features.hdf5"
    for split in ("train", "val", "test"):
        _, time = json.loads((folder / "clips" / f"pixels_{split}.json").read_text())["source"]
        os.utime(features, ns=(time, time))
    run(folder, "test_net.py", *CONFIG, *CHECKPOINT, "--dump", "again.jsonl", "DATALOADER.CACHE_DIR", "clips")
    for record, before in zip(
        *(read_lines(folder / name) for name in ("again.jsonl", "predictions.jsonl")), strict=True
    ):
        assert_same_ranking(record["pred_relevant_windows"], before["pred_relevant_windows"])
    with h5py.File(features) as file:
        recipe = FeatureRecipe.from_attributes(file.attrs, str(features))
    assert (recipe.backbone, recipe.fps, recipe.image_size, recipe.weights) == ("clip", 2, (16, 16), "image_encoder")


def test_index_finds_the_recorded_moments(folder):
    sentences = list(dict.fromkeys(record["query"] for record in read_lines(folder / "found.jsonl")))
    place = ("--index", "index_exact", *CHECKPOINT)
    run(folder, "search.py", *place, *sentences, "--top-k", 4, "--json", "again.jsonl")
    found, wanted = (ranked(read_lines(folder / name)) for name in ("again.jsonl", "found.jsonl"))
    assert found.keys() == wanted.keys() == set(sentences)
    for query, (confidence, rows) in wanted.items():
        assert found[query][0] == pytest.approx(confidence, abs=1e-4)
        assert_same_ranking([row[1:] for row in found[query][1]], [row[1:] for row in rows])


def ranked(records):
    """Of the records of a search: {query: (confidence, rows (rank, start, end, score))}, best first."""
    result = {}
    for record in records:
        _, rows = result.setdefault(record["query"], (record["confidence"], []))
        rows += [[rank, *window] for rank, window in zip(record["ranks"], record["pred_relevant_windows"], strict=True)]
    return {query: (confidence, sorted(rows)) for query, (confidence, rows) in result.items()}


def test_index_of_lance_holds_what_it_was_copied_from(folder):
    pytest.importorskip("lancedb")
    with open_store(str(folder / "index_lance")) as lance, open_store(str(folder / "index_exact")) as exact:
        assert lance.info.calibration == exact.info.calibration
        assert lance.videos() == exact.videos()
        for name in exact.videos():
            for part in ("moments", "contrastive", "iou"):
                assert np.array_equal(*(getattr(index.read(name), part) for index in (lance, exact)))


def test_study_is_found_finished_and_has_the_recorded_table(folder):
    rows = ("--vary", "MODEL.MMN.LOSS.MARGIN=0.2,0", "--seeds", 2, "--out", "study", "--no-figure")
    options = ("SOLVER.MAX_EPOCH", 1, "SOLVER.TEST_PERIOD", 100, "MODEL.MMN.LOSS.MEMORY_BANK", 0)
    recorded = (folder / "study" / "summary.md").read_text()
    printed = run(folder, "ablate.py", *CONFIG, *rows, *options).stdout
    assert "4 of 4 runs are finished already" in printed
    assert table_of(printed) == table_of(recorded)
