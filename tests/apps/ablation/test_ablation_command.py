"""From a config and rows to a table: the whole way once, its parts with a stand-in for the commands."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import start_tool
from tiny import SYNTHETIC_CONFIG, tiny_config, tiny_options

from mmn.apps.ablation import run_queue
from mmn.apps.ablation.ablation_command import Sweep, ablate
from mmn.apps.ablation.resampling import Resampling
from mmn.apps.ablation.sweep_rows import Row, grid_rows, read_rows
from mmn.commands.frame import run_command
from mmn.config import get_cfg
from mmn.engine.output_dir import prepare_output_dir
from mmn.utils.errors import ConfigError, UserError

MARGIN = "MODEL.MMN.LOSS.MARGIN"
STAND_IN = """
import json, os, sys
words = sys.argv
value = lambda key: words[len(words) - 1 - words[::-1].index(key) + 1]
folder, seed = value("OUTPUT_DIR"), int(value("SOLVER.SEED"))
margin = float(value("MODEL.MMN.LOSS.MARGIN"))
if margin == 0.3:
    sys.exit("error: this margin fails")
if "--dump" in words:
    with open(value("--dump"), "w") as file:
        for qid in range(20):
            predicted = [[0, 10, 1.0]] if qid < 10 + 20 * margin + seed % 2 else []
            record = {"qid": qid, "relevant_windows": [[0, 10]], "pred_relevant_windows": predicted}
            file.write(json.dumps(record) + chr(10))
else:
    open(os.path.join(folder, "pool_model_2e.pth"), "w").write("")
"""


@pytest.fixture
def start(tmp_path):
    """A stand-in for `program`, of a training and of a test."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    return lambda *words: (sys.executable, str(tmp_path / "stand_in.py"), *words)


def make_sweep(dataset_root, tmp_path, start, values, num_seeds=2, options=()):
    rows = grid_rows([f"{MARGIN}={values}"])
    options = [*tiny_options(dataset_root, "unused"), *options]
    return Sweep(SYNTHETIC_CONFIG, options, rows, num_seeds, tmp_path / "out", start)


def run(sweep):
    lines = []
    ablate(sweep, 2, Resampling(200), with_figure=False, log=lines.append)
    return "\n".join(lines)


def test_table_compares_the_rows(dataset_root, tmp_path, start):
    text = run(make_sweep(dataset_root, tmp_path, start, "0.0,0.4"))
    assert "| LOSS.MARGIN=0.0 | 52.50 ± 3.54 |" in text
    assert "| LOSS.MARGIN=0.4 | 92.50 ± 3.54 |" in text
    assert "**+40.00** [" in text
    assert (tmp_path / "out" / "summary.md").read_text() in text
    assert (tmp_path / "out" / "LOSS.MARGIN=0.4" / "seed_25286" / "predictions.jsonl").exists()


def test_failing_row_is_named_and_left_out(dataset_root, tmp_path, start):
    with pytest.raises(UserError, match=r"2 of 4 runs failed: LOSS.MARGIN=0.3, seed 25285 \(train: error: this margin"):
        run(make_sweep(dataset_root, tmp_path, start, "0.0,0.3"))
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "LOSS.MARGIN=0.0" in text
    assert "LOSS.MARGIN=0.3" not in text


def test_another_first_row_is_said(dataset_root, tmp_path, start):
    lines = []
    with pytest.raises(UserError, match="1 of 3 runs failed"):
        ablate(make_sweep(dataset_root, tmp_path, start, "0.3,0.1,0.2", 1), 2, Resampling(200), False, lines.append)
    assert lines.count("the differences are to 'LOSS.MARGIN=0.1' in its place") == 1


def test_rows_that_differ_in_the_evaluation_alone_share_their_training(dataset_root, tmp_path, start):
    rows = [Row("all", ()), Row("strict", (("TEST.NMS_THRESH", "0.1"),))]
    sweep = Sweep(SYNTHETIC_CONFIG, tiny_options(dataset_root, "x"), rows, 2, tmp_path / "out", start)
    runs = sweep.runs()
    assert [[step.name for step in run.evaluations] for run in runs] == [["test", "test, TEST.NMS_THRESH=0.1"]] * 2
    assert not any("TEST.NMS_THRESH" in run.training.command for run in runs)


def test_each_test_split_has_its_own_table(dataset_root, tmp_path, start):
    splits = ["DATASETS.TEST", "('synthetic_val','synthetic_test')"]
    sweep = make_sweep(dataset_root, tmp_path, start, "0.1", 1, splits)
    names = [path.name for path in sweep.predictions(sweep.rows[0], 25285).values()]
    assert names == ["predictions_synthetic_val.jsonl", "predictions_synthetic_test.jsonl"]


@pytest.mark.parametrize("values, named", [("0.1,x", "row 'LOSS.MARGIN=x'"), ("0.1,'a'", "row")])
def test_row_that_cannot_work_is_refused_before_anything_starts(dataset_root, tmp_path, start, values, named):
    with pytest.raises(ConfigError, match=named):
        run(make_sweep(dataset_root, tmp_path, start, values))
    assert not (tmp_path / "out").exists()


def test_missing_data_is_found_before_anything_starts(dataset_root, tmp_path, start):
    with pytest.raises(UserError, match="cannot be read"):
        run(make_sweep(dataset_root, tmp_path, start, "0.1", options=["DATASETS.ROOT", "nowhere"]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [("SOLVER.AMP", "bf16"), ("SOLVER.MAX_EPOCH", "1")])
def test_runs_of_other_options_are_not_taken_for_these(dataset_root, tmp_path, start, options):
    folder = make_sweep(dataset_root, tmp_path, start, "0.1", 1).runs()[0].folder
    prepare_output_dir(tiny_config(dataset_root, folder, MARGIN, "0.1", "SOLVER.SEED", "25285"))
    (folder / "pool_model_2e.pth").touch()
    same = make_sweep(dataset_root, tmp_path, start, "0.1", 1, ("DATALOADER.NUM_WORKERS", "0"))
    assert len(same.runs()) == 1
    with pytest.raises(UserError, match=f"{options[0]} .*, now '?{options[1]}"):
        make_sweep(dataset_root, tmp_path, start, "0.1", 1, options).runs()


def test_a_step_is_known_again_by_the_values_that_are_not_the_default(dataset_root, tmp_path, start):
    def fingerprints(*options):
        (made,) = make_sweep(dataset_root, tmp_path, start, "0.1", 1, options).runs()
        return made.training.fingerprint, made.evaluations[0].fingerprint

    kept = get_cfg().MODEL.MMN.PREDICTOR.KEPT_MB
    assert fingerprints("MODEL.MMN.PREDICTOR.KEPT_MB", str(kept)) == fingerprints()
    assert not {*fingerprints("TEST.NMS_THRESH", "0.123")} & {*fingerprints()}


@pytest.mark.parametrize("damage", [b"SOLVER: [", b"\xff\xfe", b"SOLVER: {SEED: 1}\nSOLVER.SEED: 2"])
def test_damaged_config_of_a_run_is_no_new_run(dataset_root, tmp_path, start, damage):
    sweep = make_sweep(dataset_root, tmp_path, start, "0.1", 1)
    (run,) = sweep.runs()
    run.folder.mkdir(parents=True)
    (run.folder / "config.yml").write_bytes(damage)
    with pytest.raises(UserError, match="the config of the run in .*seed_25285 is damaged .*: bring it back, or move"):
        sweep.runs()


def test_no_seed_is_refused(dataset_root, tmp_path, start):
    with pytest.raises(ConfigError, match="--seeds is 0"):
        make_sweep(dataset_root, tmp_path, start, "0.1", num_seeds=0)


def test_the_tool_trains_tests_compares_and_finds_it_done(dataset_root, tmp_path, monkeypatch, capsys):
    """For real, tracked by MLflow; but its processes are forks of one that has imported what they need."""

    def start(command, env, stdout, **_):
        return start_tool(command[1:], Path(stdout.name), **env)

    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/store")
    (tmp_path / "rows.yaml").write_text("all: {}\n")
    options = [*tiny_options(dataset_root, "unused"), "SOLVER.MAX_EPOCH", "1", "SOLVER.TRACKER", "mlflow"]
    flags = ["--runs", tmp_path / "rows.yaml", "--seeds", "1", "--out", tmp_path / "out", "--no-figure"]
    monkeypatch.setattr(run_queue, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": start}))
    run_command("ablate", ["--config-file", SYNTHETIC_CONFIG, *map(str, [*flags, *options])], tool="")
    assert "[1/1] baseline, seed 25285: done after" in capsys.readouterr().out
    folder = tmp_path / "out" / "baseline" / "seed_25285"
    assert list(json.loads((folder / "ablation.json").read_text())) == ["train", "test"]
    rows = read_rows(str(tmp_path / "rows.yaml"))
    again = Sweep(SYNTHETIC_CONFIG, options, rows, 1, tmp_path / "out")
    assert [run.pending() for run in again.runs()] == [[]]
    tracked = mlflow.MlflowClient().get_run((folder / "tracked_run").read_text().split()[1])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["SOLVER.MAX_EPOCH"] == "1"
    assert {"train/loss", "eval/synthetic_val/Best_R1"} <= tracked.data.metrics.keys()
