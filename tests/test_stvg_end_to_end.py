"""HC-STVG through the tools as a user runs them, and a training step of its configs."""

import json
import shutil

import pytest
import torch
from test_end_to_end import CONFIGS, assert_takes_a_step, table_of, train
from tiny import DIM, STVG_CONFIG, random_batch, tiny_config, tiny_options

from mmn.config import load_config
from mmn.engine import run
from mmn.structures.batch import RowLayout, TubeBatch
from mmn.utils.errors import UserError

TUBE_CONFIGS = [path for path in CONFIGS if load_config(str(path)).MODEL.ARCHITECTURE == "STVG"]


@pytest.fixture(scope="module")
def trained(stvg_root, tmp_path_factory):
    """(OUTPUT_DIR, the finished process) of two epochs on two processes."""
    folder = tmp_path_factory.mktemp("runs")
    return train(folder, tiny_options(stvg_root, folder / "output", STVG_CONFIG), STVG_CONFIG)


def run_test(root, folder, capsys, dump=None):
    """The table that evaluating the best checkpoint prints, in this process; all videos of the split in two batches."""
    cfg = tiny_config(root, folder, "TEST.BATCH_SIZE", "3", config=STVG_CONFIG)
    run.test(cfg, torch.device("cpu"), dump=dump and str(dump))
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(("+", "|"))]


def test_two_processes_train_and_test(trained):
    names = {path.name for path in trained[0].iterdir()}
    assert names >= {"pool_model_2e.pth", "pool_model_best.pth", "metrics.jsonl"}
    rows = [json.loads(line) for line in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["train", "eval/synthetic_stvg_val"] * 2


def test_table_does_not_depend_on_processes_or_batch_size(stvg_root, trained, capsys):
    table = run_test(stvg_root, trained[0], capsys)
    assert table == table_of(trained[1])
    names = [name.strip() for name in table[1].strip("|").split("|")]
    assert names == ["R@1,IoU@0.3", "R@1,IoU@0.5", "Best_R1", "m_vIoU", "m_tIoU"]


@pytest.fixture(scope="module")
def root_without_truth(stvg_root, tmp_path_factory):
    """A DATASETS.ROOT whose test split has sentences alone."""
    root = tmp_path_factory.mktemp("challenge")
    shutil.copytree(stvg_root / "synthetic_stvg", root / "synthetic_stvg")
    path = root / "synthetic_stvg" / "test.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({video: {"sentence": entry["sentence"]} for video, entry in content.items()}))
    return root


def test_split_without_truth_gets_the_same_predictions_and_no_table(
    stvg_root, root_without_truth, trained, capsys, tmp_path
):
    with_truth, without = tmp_path / "with.json", tmp_path / "without.json"
    assert run_test(stvg_root, trained[0], capsys, with_truth)
    assert not run_test(root_without_truth, trained[0], capsys, without)
    assert json.loads(without.read_text()) == json.loads(with_truth.read_text())


def test_split_without_truth_has_no_table_to_ask_for(root_without_truth, trained, capsys):
    with pytest.raises(UserError, match="synthetic_stvg_test has no truth to score predictions by: give --dump"):
        run_test(root_without_truth, trained[0], capsys)


def test_split_without_truth_cannot_pick_the_best_checkpoint(root_without_truth, tmp_path):
    cfg = tiny_config(root_without_truth, tmp_path, "DATASETS.VAL", "()", config=STVG_CONFIG)
    with pytest.raises(UserError, match="synthetic_stvg_test has sentences without their truth, which training needs"):
        run.train(cfg, torch.device("cpu"), will_test=False)


def test_split_without_truth_is_no_end_of_a_training(root_without_truth, tmp_path):
    cfg = tiny_config(root_without_truth, tmp_path, config=STVG_CONFIG)
    with pytest.raises(UserError, match="training cannot end with its table: .* or add --skip-test"):
        run.train(cfg, torch.device("cpu"))


def test_resumed_run_ends_like_one_that_was_not_stopped(stvg_root, tmp_path):
    ends = []
    for name, stops in (("whole", [3]), ("resumed", [1, 3])):
        for epochs in stops:
            options = ["SOLVER.MAX_EPOCH", str(epochs), "SOLVER.RESUME", "True"]
            torch.manual_seed(0)
            run.train(tiny_config(stvg_root, tmp_path / name, *options, config=STVG_CONFIG), torch.device("cpu"))
        ends.append(torch.load(tmp_path / name / "pool_model_3e.pth", weights_only=True))
    assert ends[0]["model"].keys() == ends[1]["model"].keys()
    assert all(torch.equal(value, ends[1]["model"][key]) for key, value in ends[0]["model"].items())


def test_there_are_configs_of_tubes():
    assert {path.stem for path in TUBE_CONFIGS} == {"pool_stvg_16x16_k7l4", "synthetic_stvg"}


@pytest.mark.parametrize("path", TUBE_CONFIGS, ids=lambda path: path.stem)
def test_config_takes_a_training_step_at_reduced_width(path, stvg_root, tmp_path):
    num_tubes, num_cells = [2, 1, 3], 136
    videos = random_batch([1] * len(num_tubes), num_pre_clips=32)
    batch = TubeBatch(
        feats=torch.randn(sum(num_tubes), 32, 2 * DIM),
        tokens=videos.tokens,
        token_mask=videos.token_mask,
        token_rows=videos.token_rows,
        sentence_ids=videos.sentence_ids,
        video_ids=videos.video_ids,
        tubes=RowLayout.from_counts(num_tubes),
        lengths=torch.full((sum(num_tubes),), 40),
        ious=torch.rand(sum(num_tubes), num_cells),
    )
    encoder = stvg_root / "synthetic_stvg" / "text_encoder"
    update = assert_takes_a_step(path, encoder, [DIM, DIM], batch, tmp_path)
    assert update.cfg.SOLVER.CLIP_GRAD_NORM == 10


def test_factors_of_training_apply_to_tubes(stvg_root, tmp_path):
    factors = {
        "SOLVER.EMA_DECAY": "0.9",
        "SOLVER.WARMUP_ITERS": "2",
        "SOLVER.SCHEDULE": "cosine",
        "SOLVER.AMP": "bf16",
        "MODEL.MMN.SHARED_HEADS": "True",
        "MODEL.MMN.TEXT_ENCODER.POOLING": "cls",
        "MODEL.MMN.LOSS.VIDEO_TO_SENTENCE_WEIGHT": "0.5",
    }
    options = [part for pair in factors.items() for part in pair]
    run.train(tiny_config(stvg_root, tmp_path, *options, config=STVG_CONFIG), torch.device("cpu"))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= row["m_vIoU"] <= 1 for row in rows if row["kind"].startswith("eval"))
    assert len({row["lr"] for row in rows if row["kind"] == "train"}) == 2
    end = torch.load(tmp_path / "pool_model_2e.pth", weights_only=True)
    name = "featpool.conv.weight"
    assert not torch.equal(end["model"][name], end["training_model"][name])
