"""2D-TAN through the tools as a user runs them, runs of it that go on, and a training step of its configs."""

import json

import h5py
import numpy as np
import pytest
import torch
from engine.test_resume import assert_same_state
from processes import launch
from test_end_to_end import CONFIGS, evaluate_with, succeed, table_of, train, values_of
from tiny import DIM, TAN2D_CONFIG, tiny_config, tiny_options

from mmn.apps.benchmark.chaos import differing
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.probes.shuffled_controls import ShuffledSentences, ShuffledVideos, run_controls
from mmn.apps.visual.picture_report import QueryChoice, write_report
from mmn.config import load_config
from mmn.engine import run
from mmn.engine.tasks import TAN2D_TASK
from mmn.engine.trainer import Trainer
from mmn.evaluation.map_file import MapFile
from mmn.utils.checkpoint import load_checkpoint
from mmn.utils.errors import ConfigError
from mmn.utils.seed import seed_everything

CPU = torch.device("cpu")
TAN2D_CONFIGS = [path for path in CONFIGS if load_config(str(path)).MODEL.ARCHITECTURE == "TAN2D"]
# An evaluation after every fifth step: an epoch of the tiny dataset has some more.
PLATEAU = [
    "SOLVER.SCHEDULE",
    "plateau",
    "SOLVER.PLATEAU_PATIENCE",
    "0",
    "SOLVER.TEST_ITERS",
    "5",
    "SOLVER.MAX_EPOCH",
    "3",
]


@pytest.fixture(scope="module")
def trained(dataset_root, tmp_path_factory):
    """(OUTPUT_DIR, the finished process) of three epochs on two processes."""
    folder = tmp_path_factory.mktemp("runs")
    return train(folder, [*tiny_options(dataset_root, folder / "output", TAN2D_CONFIG), *PLATEAU], TAN2D_CONFIG)


@pytest.fixture(scope="module")
def evaluations(dataset_root, trained, tmp_path_factory):
    """(table, dump, maps) of one process with all sentences at once, and of two with few."""
    folder = tmp_path_factory.mktemp("dumps")
    found = []
    for processes, batch_size in ((1, 50), (2, 6)):
        dump, maps = folder / f"{processes}.jsonl", str(folder / f"{processes}.h5")
        flags = (TAN2D_CONFIG, dataset_root, trained[0], processes, batch_size, dump, "--dump-maps", maps)
        found.append((*evaluate_with(*flags), MapFile(maps)))
    return found


def rows_of(folder, kind):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"].startswith(kind)]


def test_training_ends_with_the_table_of_the_best_checkpoint(trained, evaluations):
    assert table_of(trained[1]) == evaluations[0][0]


def test_table_and_dump_do_not_depend_on_processes_or_batch_size(evaluations):
    (table, dump, _), (other_table, other_dump, _) = evaluations
    assert table == other_table
    assert list(values_of(table))[-1] == "mIoU" and "R@1,IoU@0.5" in values_of(table)
    assert len(dump) == len(other_dump) > 5
    for one, other in zip(dump, other_dump, strict=True):
        assert one["qid"] == other["qid"]
        assert one["pred_relevant_windows"][0][:2] == other["pred_relevant_windows"][0][:2]


def test_map_has_one_head_and_the_score_of_the_first_prediction_at_its_cell(evaluations):
    for _, records, maps in evaluations:
        for record in records:
            start, end, score = record["pred_relevant_windows"][0]
            clip, own = record["duration"] / maps.cells.num_clips, maps.maps(record["qid"])
            assert own.contrastive is None and (own.iou == own.final).all()
            assert own.final[round(start / clip), round(end / clip) - 1] == pytest.approx(score, abs=1e-3)


def test_pictures_of_a_model_with_one_score(evaluations, tmp_path):
    pytest.importorskip("matplotlib")
    _, records, maps = evaluations[0]
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(record) + "\n" for record in records))
    write_report(str(tmp_path / "out"), str(predictions), maps=maps.path, choice=QueryChoice(count=1, kinds=("best",)))
    assert len(list((tmp_path / "out").glob("query_*.png"))) == 1


def test_sweep_of_suppression(dataset_root, trained, capsys):
    cfg = tiny_config(dataset_root, trained[0], config=TAN2D_CONFIG)
    run.sweep(cfg, CPU, ["TEST.NMS_THRESH=0.3,0.5"])
    assert "mIoU" in capsys.readouterr().out


def test_controls_shuffle_whole_videos_and_every_sentence(dataset_root, trained, evaluations):
    cfg = tiny_config(dataset_root, trained[0], config=TAN2D_CONFIG)
    dataset = TAN2D_TASK.build_dataset(cfg, run.Splits(cfg).find("synthetic_test"), TAN2D_TASK.build_tokenizer(cfg))
    for sample, own in zip(ShuffledVideos(dataset, 0), dataset, strict=False):
        assert not np.array_equal(sample.clips, own.clips) and sample.tokens[0] is own.tokens[0]
    sources = ShuffledSentences(dataset, 0).source
    videos = [dataset.video_number(number) for number in range(len(dataset))]
    assert all(videos[source] != video for source, video in zip(sources, videos, strict=True))
    metrics = run_controls(cfg, CPU, None)["synthetic_test"]["as it is"]
    assert {name: f"{100 * value:.2f}" for name, value in metrics.items()} == values_of(evaluations[0][0])


def test_evaluations_by_steps_drift_into_the_epochs(trained):
    rows = rows_of(trained[0], "eval/")
    assert [row["step"] for row in rows] == list(range(5, rows[-1]["step"] + 1, 5))
    names = {path.name for path in trained[0].iterdir()}
    assert names >= {f"pool_model_eval{number}.pth" for number in range(1, len(rows) + 1)}


def test_validation_loss_is_over_whole_batches_however_many_processes(dataset_root, trained):
    """The trainer's two processes predicted a sentence each at a time."""
    row, *_ = rows_of(trained[0], "eval/")
    cfg = tiny_config(dataset_root, trained[0], *PLATEAU, config=TAN2D_CONFIG)
    checkpoint = load_checkpoint(str(trained[0] / "pool_model_eval1.pth"))
    model = TAN2D_TASK.build_model(cfg, False)
    model.load_state_dict(checkpoint["model"])
    tokenizer = TAN2D_TASK.build_tokenizer(cfg)
    dataset = TAN2D_TASK.build_dataset(cfg, run.Splits(cfg).find("synthetic_val"), tokenizer)
    collate, losses = TAN2D_TASK.build_collator(cfg, tokenizer), []
    with torch.no_grad():
        for start in range(0, len(dataset), cfg.TEST.BATCH_SIZE):
            batch = collate(
                [dataset[number] for number in range(start, min(start + cfg.TEST.BATCH_SIZE, len(dataset)))]
            )
            losses.append(TAN2D_TASK.build_criterion(cfg)(model(batch), batch)["iou"].item())
    assert row["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


# ---- One video ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def localizer(trained):
    return MomentLocalizer.from_checkpoint(trained[0] / "pool_model_best.pth", device="cpu")


def test_localizer_finds_what_evaluation_dumps(dataset_root, localizer, evaluations):
    record = evaluations[0][1][0]
    with h5py.File(dataset_root / "synthetic" / "features.hdf5") as file:
        rows = file[record["vid"]][()]
    (result,) = localizer.localize(rows, record["query"], duration=record["duration"], top_k=3)
    for moment, (start, end, score) in zip(result.moments, record["pred_relevant_windows"], strict=False):
        assert (moment.start, moment.end) == (start, end)
        assert moment.score == moment.iou == pytest.approx(score, abs=1e-5)
        assert moment.contrastive is None


def test_windows_and_sentences_are_scored_as_one_by_one(localizer):
    rows, queries = np.random.default_rng(0).random((60, DIM), dtype=np.float32), ["a person lifts the box", "light"]
    video = localizer.encode_video(rows, duration=60.0, window=30.0)
    together = localizer.score_maps(video, queries).final
    assert together.shape[:2] == (2, len(video.windows)) and len(video.windows) > 1
    for number, query in enumerate(queries):
        np.testing.assert_allclose(localizer.score_maps(video, query).final[0], together[number], atol=1e-6)


def test_encoding_in_files_is_scored_as_the_one_in_memory(localizer, tmp_path):
    rows, query = np.random.default_rng(0).random((60, DIM), dtype=np.float32), "a person lifts the box"
    kept = localizer.encode_video(rows, duration=60.0, window=30.0, cache=tmp_path)
    held = localizer.encode_video(rows, duration=60.0, window=30.0)
    assert localizer.localize(kept, query) == localizer.localize(held, query)


def test_command_line_finds_moments_and_draws_them(dataset_root, trained, evaluations, tmp_path):
    pytest.importorskip("matplotlib")
    record = evaluations[0][1][0]
    features = ["--features", str(dataset_root / "synthetic" / "features.hdf5"), "--duration", str(record["duration"])]
    files = ["--ckpt", str(trained[0] / "pool_model_best.pth"), "--plot", str(tmp_path / "found.png")]
    done = launch(1, "localize.py", record["vid"], record["query"], *features, *files)
    assert f"{record['pred_relevant_windows'][0][2]:.3f}" in succeed(done).stdout
    assert (tmp_path / "found.png").stat().st_size > 1000


def test_there_are_no_vectors_to_index(localizer):
    with pytest.raises(ConfigError, match="no vectors before the sentence is known"):
        localizer.encode_queries("a person lifts the box")
    with pytest.raises(ConfigError, match="no vectors before the sentence is known"):
        localizer.joint_space_size  # noqa: B018


def test_checkpoint_without_its_word_vectors_says_how_to_name_them(trained, tmp_path):
    options = ["MODEL.TAN2D.TEXT.GLOVE", str(tmp_path / "nowhere.txt")]
    with pytest.raises(ConfigError, match=r"in Python by options=\['MODEL.TAN2D.TEXT.GLOVE', FILE\]"):
        MomentLocalizer.from_checkpoint(trained[0] / "pool_model_best.pth", options=options)


# ---- Runs that go on ---------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def train_here(dataset_root, folder, *options, seed=0):
    cfg = tiny_config(dataset_root, folder, *PLATEAU, *options, config=TAN2D_CONFIG)
    seed_everything(seed)
    run.train(cfg, CPU, will_test=False)
    return load_checkpoint(f"{folder}/pool_model_3e.pth")


@pytest.mark.parametrize("count", [2, 3])
def test_run_killed_at_an_evaluation_ends_as_the_undisturbed_one(dataset_root, tmp_path, monkeypatch, count):
    whole = train_here(dataset_root, tmp_path / "whole")
    calls, original = [], Trainer._evaluate

    def dying(self, epoch):
        calls.append(epoch)
        if len(calls) == count:
            raise Killed
        original(self, epoch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "_evaluate", dying)
        train_here(dataset_root, tmp_path / "killed")
    resumed = train_here(dataset_root, tmp_path / "killed", "SOLVER.RESUME", "True", seed=99)
    assert_same_state(resumed, whole)
    rows = [rows_of(tmp_path / name, "eval/") for name in ("whole", "killed")]
    assert rows[0] == rows[1] and len({row["loss"] for row in rows[0]}) == len(rows[0])
    best, wanted = (load_checkpoint(f"{tmp_path / name}/pool_model_best.pth") for name in ("killed", "whole"))
    apart = {"config": 0, "meter": 0}  # the folder, and what the clock says
    assert not list(differing({**best, **apart}, {**wanted, **apart}))


# ---- Configs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TAN2D_CONFIGS, ids=lambda path: path.stem)
def test_config_takes_a_training_step_at_reduced_width(path, dataset_root, tmp_path):
    options = {
        "DATASETS.TRAIN": "synthetic_train",
        "DATASETS.VAL": "synthetic_val",
        "DATASETS.TEST": "synthetic_test",
        "MODEL.MMN.NUM_CLIPS": "16",
        "INPUT.NUM_PRE_CLIPS": "32",
        "MODEL.MMN.FEATPOOL.KERNEL_SIZE": "2",
        "MODEL.MMN.FEAT2D.POOLING_COUNTS": "[7, 4]",
        "MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS": "2",
        "SOLVER.BATCH_SIZE": "16",
        "SOLVER.MAX_EPOCH": "1",
        "SOLVER.CHECKPOINT_PERIOD": "1",
    }
    words = [part for pair in options.items() for part in pair]
    cfg = load_config(str(path), [*tiny_options(dataset_root, tmp_path, TAN2D_CONFIG), *words])
    run.train(cfg, CPU, will_test=False)
    (row,) = rows_of(tmp_path, "train")
    assert row["loss"] > 0 and row["grad_norm"] > 0
