"""The tools as a user runs them, and a training step of every config."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import launch
from tiny import DIM, ROOT, SYNTHETIC_CONFIG, random_batch, tiny_options, without_biases

from mmn.config import load_config, validate
from mmn.engine.tasks import find_task
from mmn.engine.update import WeightUpdate
from mmn.evaluation.map_file import MapFile

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
MODELS = {path: load_config(str(path)).MODEL for path in CONFIGS}
# The start from a dual encoder needs one: tests/modeling/test_dual_encoder.py.
MOMENT_CONFIGS = [path for path, model in MODELS.items() if model.ARCHITECTURE == "MMN" and not model.MMN.DUAL_START]


def succeed(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def table_of(done):
    return [line for line in done.stdout.splitlines() if line.startswith(("+", "|"))]


def values_of(table):
    """{column: value}, as printed."""
    names, values = ([cell.strip() for cell in table[row].strip("|").split("|")] for row in (1, 3))
    return dict(zip(names, values, strict=True))


def train(folder, options, config):
    """(OUTPUT_DIR, the finished process) of a training on two processes, beginning without biases."""
    cfg = load_config(config, options)
    torch.save(without_biases(find_task(cfg).build_model(cfg, True)).state_dict(), folder / "weights.pth")
    options = [*options, "SOLVER.INIT_WEIGHTS", folder / "weights.pth"]
    return Path(cfg.OUTPUT_DIR), succeed(launch(2, "train_net.py", "--config-file", config, *options))


@pytest.fixture(scope="module")
def trained(dataset_root, tmp_path_factory):
    """(OUTPUT_DIR, the finished process) of two epochs on two processes."""
    folder = tmp_path_factory.mktemp("runs")
    return train(folder, tiny_options(dataset_root, folder / "output"), SYNTHETIC_CONFIG)


def evaluate_with(config, dataset_root, folder, num_processes, batch_size, dump, *flags):
    """(table, dump) of the best checkpoint of a folder."""
    options = [*tiny_options(dataset_root, folder, config), "TEST.BATCH_SIZE", str(batch_size)]
    done = launch(num_processes, "test_net.py", "--config-file", config, "--dump", str(dump), *flags, *options)
    return table_of(succeed(done)), [json.loads(line) for line in dump.read_text().splitlines()]


def evaluate(dataset_root, folder, num_processes, batch_size, dump):
    maps = str(dump.with_suffix(".h5"))
    flags = ("--dump-maps", maps)
    found = evaluate_with(SYNTHETIC_CONFIG, dataset_root, folder, num_processes, batch_size, dump, *flags)
    return *found, MapFile(maps)


@pytest.fixture(scope="module")
def evaluations(dataset_root, trained, tmp_path_factory):
    """(table, dump, maps) of one process with all videos at once, and of two with unequal shares, one video at a time."""
    folder = tmp_path_factory.mktemp("dumps")
    return [
        evaluate(dataset_root, trained[0], num_processes, batch_size, folder / f"{num_processes}.jsonl")
        for num_processes, batch_size in ((1, 5), (2, 2))
    ]


def test_training_on_two_processes_leaves_the_files_of_a_run(trained):
    names = {path.name for path in trained[0].iterdir()}
    checkpoints = {"pool_model_1e.pth", "pool_model_2e.pth", "pool_model_best.pth", "last_checkpoint"}
    assert names >= checkpoints | {"config.yml", "log.txt", "metrics.jsonl", "tensorboard"}


def test_metrics_have_a_training_and_an_evaluation_row_per_epoch(trained):
    rows = [json.loads(line) for line in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    wanted = [("train", 1), ("eval/synthetic_val", 1), ("train", 2), ("eval/synthetic_val", 2)]
    assert [(row["kind"], row["epoch"]) for row in rows] == wanted
    assert rows[0].keys() >= {"loss", "vid", "sent", "iou", "grad_norm", "lr", "bert_lr", "videos_per_s", "memory_mb"}


def test_written_config_starts_the_same_run(trained):
    written = load_config(str(trained[0] / "config.yml"))
    assert written.SOLVER.MAX_EPOCH == 2
    assert str(trained[0]) == written.OUTPUT_DIR


def test_training_ends_with_the_table_of_the_best_checkpoint(trained, evaluations):
    assert table_of(trained[1]) == evaluations[0][0]


def test_table_does_not_depend_on_processes_or_batch_size(evaluations):
    (one, *_), (two, *_) = evaluations
    assert one == two
    assert "R@1,IoU@0.5" in one[1]


def test_dump_does_not_depend_on_processes_or_batch_size(evaluations):
    (_, one, _), (_, two, _) = evaluations
    assert len(one) == len(two) > 0
    for first, second in zip(one, two, strict=True):
        windows = first["pred_relevant_windows"], second["pred_relevant_windows"]
        assert first | {"pred_relevant_windows": 0} == second | {"pred_relevant_windows": 0}
        scores = [torch.tensor([score for *_, score in ranked]) for ranked in windows]
        torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-5)
        # Of two moments whose scores differ in the last digit alone either may come first and suppress the other, so
        # further down the list only the scores are comparable.
        assert windows[0][0][:2] == windows[1][0][:2]


def test_maps_do_not_depend_on_processes_or_batch_size(evaluations):
    (_, records, one), (_, _, two) = evaluations
    assert list(one.ids) == list(two.ids) == [record["qid"] for record in records]
    for qid, record in enumerate(records):
        assert one.sentence(qid) == two.sentence(qid) == (record["vid"], record["query"])
        for name in ("contrastive", "iou", "final"):
            # 16 bits, of numbers that differ in the last digit of 32.
            first, second = (getattr(maps.maps(qid), name) for maps in (one, two))
            np.testing.assert_allclose(first, second, atol=1e-3)


def test_final_map_has_the_score_of_the_first_prediction_at_its_cell(evaluations):
    _, records, maps = evaluations[0]
    for record in records:
        start, end, score = record["pred_relevant_windows"][0]
        clip = record["duration"] / maps.cells.num_clips
        final = maps.maps(record["qid"]).final
        assert final[round(start / clip), round(end / clip) - 1] == pytest.approx(score, abs=1e-3)
        assert final.max() == pytest.approx(score, abs=1e-3)


def test_scoring_the_dump_without_a_model_gives_the_same_table(evaluations, tmp_path):
    table, records, _ = evaluations[0]
    path = tmp_path / "dump.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    done = succeed(launch(1, "evaluate.py", "--predictions", str(path), "--split", "synthetic_test"))
    scored = values_of(table_of(done))
    assert values_of(table).items() <= scored.items()
    assert scored.keys() >= {"mIoU", "mAP"}


def test_command_line_resumes_from_the_last_checkpoint(dataset_root, trained, tmp_path):
    folder = tmp_path / "output"
    shutil.copytree(trained[0], folder)
    options = [*tiny_options(dataset_root, folder), "SOLVER.MAX_EPOCH", "3", "SOLVER.RESUME", "True"]
    done = succeed(launch(1, "train_net.py", "--config-file", SYNTHETIC_CONFIG, "--skip-test", *options))
    assert "continuing after epoch 2" in done.stderr
    assert (folder / "last_checkpoint").read_text() == "pool_model_3e.pth"
    assert not table_of(done)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 1, 2, 2, 3, 3]


def test_maps_of_a_sentence_that_is_not_there_are_refused(dataset_root, trained, tmp_path):
    asked = ["--dump-maps", str(tmp_path / "maps.h5"), "--maps-of", "0,9999"]
    options = tiny_options(dataset_root, trained[0])
    done = launch(1, "test_net.py", "--config-file", SYNTHETIC_CONFIG, *asked, *options)
    assert done.returncode == 2
    assert "error: --maps-of names sentence 9999" in done.stderr
    assert not (tmp_path / "maps.h5").exists()


def test_testing_a_folder_without_checkpoints_is_a_sentence(dataset_root, tmp_path):
    done = launch(1, "test_net.py", "--config-file", SYNTHETIC_CONFIG, *tiny_options(dataset_root, tmp_path))
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: there is no pool_model_*.pth in OUTPUT_DIR")


@pytest.mark.parametrize("path", MOMENT_CONFIGS, ids=lambda path: path.stem)
def test_config_takes_a_training_step_at_reduced_width(path, dataset_root, tmp_path):
    batch = random_batch([2, 1], num_pre_clips=load_config(str(path)).INPUT.NUM_PRE_CLIPS)
    assert_takes_a_step(path, Path(dataset_root, "synthetic", "text_encoder"), DIM, batch, tmp_path)


def assert_takes_a_step(path, text_encoder, input_size, batch, folder):
    """A step of the config at reduced width changes every weight that is to be trained. Returns the update."""
    options = {
        "MODEL.DEVICE": "cpu",
        "MODEL.MMN.TEXT_ENCODER.PRETRAINED": text_encoder,
        "MODEL.MMN.FEATPOOL.INPUT_SIZE": input_size,
        "MODEL.MMN.FEATPOOL.HIDDEN_SIZE": 4,
        "MODEL.MMN.JOINT_SPACE_SIZE": 4,
        "MODEL.MMN.PREDICTOR.HIDDEN_SIZE": 4,
        "OUTPUT_DIR": folder,
    }
    cfg = load_config(str(path), [str(part) for pair in options.items() for part in pair])
    validate(cfg)
    task = find_task(cfg)
    model = task.build_model(cfg, True)
    optimizer = task.training.build_optimizer(cfg, model)
    update = WeightUpdate(cfg, task.training, model, task.build_criterion(cfg), optimizer, torch.device("cpu"))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in trained]
    values = update([batch], 1, "the first step")
    assert all(torch.isfinite(value) for value in values.values())
    assert not any(torch.equal(old, new) for old, new in zip(before, trained, strict=True))
    return update
