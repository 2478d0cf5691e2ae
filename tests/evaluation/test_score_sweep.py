"""Scoring one forward pass under many settings."""

import csv
import json
from pathlib import Path

import pytest
import torch
from processes import launch, run_in_group
from test_inference import CPU, dataset, model, predict_shards  # noqa: F401 (fixtures)
from tiny import SYNTHETIC_CONFIG, tiny_config, tiny_options

from mmn.engine import run
from mmn.evaluation.inference import MomentRanker
from mmn.evaluation.score_sweep import SweepRanker, sweep_grid
from mmn.evaluation.sweep_words import split_words
from mmn.modeling import build_model, build_proposal_cells
from mmn.utils.errors import ConfigError

SETTINGS = ["TEST.SCORE=product,contrastive,iou", "TEST.CONTRASTIVE_SCORE_POW=0,0.3", "TEST.NMS_THRESH=0.4,1"]


@pytest.fixture
def checkpoint(dataset_root, tmp_path):
    path = tmp_path / "weights.pth"
    torch.manual_seed(3)
    torch.save(build_model(tiny_config(dataset_root, tmp_path)).state_dict(), path)
    return str(path)


@pytest.mark.parametrize("world_size", [1, 7])  # 7: more processes than videos
def test_predictions_are_those_of_a_run_for_each_setting(tiny_cfg, model, dataset, world_size):  # noqa: F811
    cells = build_proposal_cells(tiny_cfg)
    values = [(0.5, 0.5, 6, "product"), (0.3, 0.0, 9, "product"), (0.9, 0.5, 6, "iou"), (0.5, 2.0, 5, "contrastive")]
    rankers = [MomentRanker(cells, *value) for value in values]
    together = predict_shards(model, SweepRanker(rankers), dataset, 2, world_size)
    for number, ranker in enumerate(rankers):
        alone = predict_shards(model, ranker, dataset, 2, world_size)
        for ours, wanted in zip((shard[number] for shard in together), alone, strict=True):
            assert all(torch.equal(getattr(ours, name), value) for name, value in vars(wanted).items())


def rows_of(table):
    """Cells of the rows of a printed table, the head first."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_and_files_hold_what_separate_tests_print(dataset_root, checkpoint, tmp_path, capsys):
    cfg = tiny_config(dataset_root, tmp_path)
    for extension in ("csv", "json"):
        run.sweep(cfg, CPU, SETTINGS, checkpoint, str(tmp_path / f"out.{extension}"))
    head, *rows = rows_of(capsys.readouterr().out)
    assert head[:3] == ["SCORE", "CONTRASTIVE_SCORE_POW", "NMS_THRESH"]
    rows = rows[: len(rows) // 2]
    assert len(rows) == 12
    saved = json.loads((tmp_path / "out.json").read_text())
    with open(tmp_path / "out.csv") as file:
        assert [list(row.values()) for row in csv.DictReader(file)] == [list(map(str, row.values())) for row in saved]
    for row, record in list(zip(rows, saved, strict=True))[::5]:
        options = [word for pair in zip(SETTINGS, row, strict=False) for word in (pair[0].split("=")[0], pair[1])]
        run.test(tiny_config(dataset_root, tmp_path, *options), CPU, checkpoint)
        names, values = rows_of(capsys.readouterr().out)
        assert (head[3:], row[3:]) == (names, values)
        assert [f"{100 * record[name]:.2f}" for name in names] == values


def sweep_in_process(rank, dataset_root, folder, checkpoint, out):
    run.sweep(tiny_config(dataset_root, folder, "TEST.BATCH_SIZE", "4"), CPU, SETTINGS, checkpoint, out)


def test_several_processes_write_the_rows_of_one(dataset_root, checkpoint, tmp_path):
    files = [str(tmp_path / f"{number}.json") for number in (1, 2, 4)]
    sweep_in_process(0, dataset_root, tmp_path, checkpoint, files[0])
    for number, file in ((2, files[1]), (4, files[2])):
        arguments = (dataset_root, tmp_path, checkpoint, file)
        run_in_group(sweep_in_process, *arguments, world_size=number)
    one, two, four = (json.loads(Path(file).read_text()) for file in files)
    assert len(one) == 12
    assert one == two == four


def test_tool_takes_the_settings_and_the_options_after_them(dataset_root, checkpoint, tmp_path):
    options = tiny_options(dataset_root, tmp_path)
    args = ["--config-file", SYNTHETIC_CONFIG, "--ckpt", checkpoint, "--sweep", *SETTINGS[:2], *options]
    done = launch(1, "test_net.py", *args)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(rows_of(done.stdout)) == 1 + 6


def test_words_after_the_flag_are_settings_and_then_options():
    assert split_words(["A=1", "B=2,3", "C", "4"]) == (["A=1", "B=2,3"], ["C", "4"])
    assert split_words(["C", "4"]) == ([], ["C", "4"])


def test_grid_is_every_combination_in_order(tiny_cfg):
    grid = sweep_grid(tiny_cfg, ["TEST.NMS_THRESH=0.4,0.5", "TEST.SCORE=iou, product"])
    values = [(0.4, "iou"), (0.4, "product"), (0.5, "iou"), (0.5, "product")]
    assert [tuple(swept.values()) for swept, _ in grid] == values
    assert [(cfg.TEST.NMS_THRESH, cfg.TEST.SCORE) for _, cfg in grid] == values


@pytest.mark.parametrize(
    "settings, said",
    [
        (["SOLVER.LR=1,2"], "SOLVER.LR needs a forward pass of its own"),
        (["TEST.BATCH_SIZE=1,2"], "TEST.BATCH_SIZE needs a forward pass of its own"),
        (["TEST.NMS=0.5"], "TEST.NMS is unknown: did you mean TEST.NMS_THRESH"),
        (["TEST.NMS_THRESH=0.5,,0.6"], "empty value"),
        (["TEST.NMS_THRESH="], "empty value"),
        (["TEST.NMS_THRESH=0.5", "TEST.NMS_THRESH=0.6"], "twice"),
        (["TEST.NMS_THRESH=often"], "TEST.NMS_THRESH to 'often'"),
        ([], "names no values"),
    ],
)
def test_setting_that_cannot_be_swept_is_refused(tiny_cfg, settings, said):
    with pytest.raises(ConfigError, match=said):
        sweep_grid(tiny_cfg, settings)


@pytest.mark.parametrize(
    "settings, out, said",
    [
        (["TEST.SCORE=best"], None, "TEST.SCORE is 'best'"),
        (["TEST.NUM_PREDICTIONS=3"], None, "TEST.NUM_PREDICTIONS is 3"),
        (["TEST.SCORE=iou"], "table.txt", "must end in .csv or .json"),
    ],
)
def test_value_or_file_that_cannot_work_is_refused_before_the_forward_pass(dataset_root, tmp_path, settings, out, said):
    with pytest.raises(ConfigError, match=said):
        run.sweep(tiny_config(dataset_root, tmp_path), CPU, settings, "no checkpoint", out)
