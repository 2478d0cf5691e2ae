"""The factors of docs/FACTORS.md: their defaults are the released behaviour, and each of them does something."""

import re

import parity
import pytest
import torch
from tiny import ROOT, random_batch, tiny_config

from golden_fixture import MMN_FIXTURES
from mmn.config import get_cfg, load_config, validate
from mmn.config.load import config_keys, override_config
from mmn.config.validate import untrained_score
from mmn.engine.output_dir import refuse_other_config
from mmn.engine.update import WeightUpdate
from mmn.modeling import build_criterion, build_model
from mmn.solver import MATCHING_RECIPE, build_average, build_optimizer, set_text_encoder_frozen, warmup_factor
from mmn.utils.errors import ConfigError, UserError

RELEASED = {
    "MODEL.MMN.LOSS.VIDEO_TO_SENTENCE_WEIGHT": "1.0",
    "MODEL.MMN.LOSS.SENTENCE_TO_VIDEO_WEIGHT": "1.0",
    "MODEL.MMN.LOSS.IOU_WEIGHT": "1.0",
    "SOLVER.LATE_CONTRASTIVE_FACTOR": "0.01",
    "MODEL.MMN.LOSS.NEGATIVES.SAME_VIDEO_SENTENCES": "True",
    "MODEL.MMN.LOSS.NEGATIVES.OTHER_VIDEO_SENTENCES": "True",
    "MODEL.MMN.LOSS.NEGATIVES.SAME_VIDEO_MOMENTS": "True",
    "MODEL.MMN.LOSS.NEGATIVES.OTHER_VIDEO_MOMENTS": "True",
    "MODEL.MMN.LOSS.MASKED_NEGATIVES": "ones",
    "MODEL.MMN.LOSS.GATHER_NEGATIVES": "False",
    "MODEL.MMN.LOSS.MEMORY_BANK": "0",
    "MODEL.MMN.TEXT_ENCODER.POOLING": "mean",
    "MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS": "-1",
    "MODEL.MMN.SHARED_HEADS": "False",
    "MODEL.MMN.DUAL_START": "False",
    "MODEL.MMN.PREDICTOR.BATCH_NORM": "process",
    "SOLVER.SCHEDULE": "multistep",
    "SOLVER.WARMUP_ITERS": "0",
    "SOLVER.CLIP_GRAD_NORM": "5.0",
    "SOLVER.EMA_DECAY": "0.0",
    "SOLVER.AMP": "off",
    "TEST.SCORE": "product",
    "TEST.CONTRASTIVE_RULE": "cosine",
}
RELEASED_OPTIONS = [word for pair in RELEASED.items() for word in pair]
NEGATIVES = "MODEL.MMN.LOSS.NEGATIVES."


def lookup(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def documented():
    """{key: default} of the tables of docs/FACTORS.md."""
    rows = re.findall(r"^\| `([\w.]+)` \|[^|]+\| ([^|]+) \|", (ROOT / "docs/FACTORS.md").read_text(), re.MULTILINE)
    return dict(rows)


def test_documented_defaults_are_those_of_the_config():
    assert documented().keys() >= RELEASED.keys()
    assert documented().keys() <= set(config_keys())
    options = [word for pair in documented().items() for word in pair]
    assert load_config(None, options) == get_cfg()


def test_released_values_are_the_defaults():
    assert load_config(None, RELEASED_OPTIONS) == get_cfg()


@pytest.mark.parametrize("name", MMN_FIXTURES)
def test_released_trajectory_with_every_factor_spelled_out(name, monkeypatch):
    """Losses, gradient norms, rates and final weights are bit for bit those of the defaults, which test_parity checks."""
    history, weights, moments = parity.trajectory(name, torch.float32)
    spelled_out = parity.fixture(name)
    cfg = override_config(spelled_out.cfg, RELEASED_OPTIONS)
    cfg.defrost()
    monkeypatch.setattr(spelled_out, "cfg", cfg)
    monkeypatch.setattr(parity, "fixture", lambda name: spelled_out)
    again = parity.trajectory.__wrapped__(name, torch.float32)
    assert torch.equal(again[0], history)
    assert all(torch.equal(again[1][key], value) for key, value in weights.items())
    assert all(torch.equal(again[2][key], value) for key, value in moments.items())


# ---- Effects on one step -----------------------------------------------------------------------------------------------


@pytest.fixture
def step(dataset_root, tmp_path):
    """(losses and gradient norm, weights afterwards) of the second of two steps under some options."""

    def run(*options):
        torch.manual_seed(0)
        cfg = tiny_config(dataset_root, tmp_path, "SOLVER.FREEZE_BERT", "0", *options)
        validate(cfg)
        model = build_model(cfg)
        parts = (build_criterion(cfg), build_optimizer(cfg, model), torch.device("cpu"), build_average(cfg, model))
        update = WeightUpdate(cfg, MATCHING_RECIPE, model.train(), *parts)
        set_text_encoder_frozen(cfg, model, epoch=1)
        for seed in (1, 2):
            update.rate_factor = warmup_factor(cfg, step=seed - 1)
            batch = random_batch([2, 1, 3], num_pre_clips=32, seed=seed)
            batch.video_ids = [f"video_{seed}_{number}" for number in range(3)]
            torch.manual_seed(seed)
            values = update([batch], 1, "here")
        return values, {name: value.clone() for name, value in update.evaluated.state_dict().items()}

    return run


@pytest.mark.parametrize(
    "key, value, changed",
    [
        ("MODEL.MMN.LOSS.VIDEO_TO_SENTENCE_WEIGHT", "0", {"loss"}),
        ("MODEL.MMN.LOSS.SENTENCE_TO_VIDEO_WEIGHT", "2", {"loss"}),
        ("MODEL.MMN.LOSS.IOU_WEIGHT", "0", {"loss"}),
        (f"{NEGATIVES}SAME_VIDEO_SENTENCES", "False", {"loss", "vid"}),
        (f"{NEGATIVES}OTHER_VIDEO_SENTENCES", "False", {"loss", "vid"}),
        (f"{NEGATIVES}SAME_VIDEO_MOMENTS", "False", {"loss", "sent"}),
        (f"{NEGATIVES}OTHER_VIDEO_MOMENTS", "False", {"loss", "sent"}),
        ("MODEL.MMN.LOSS.MEMORY_BANK", "2", {"loss", "vid", "sent"}),
        ("MODEL.MMN.TEXT_ENCODER.POOLING", "cls", {"loss", "vid", "sent", "iou"}),
        ("MODEL.MMN.SHARED_HEADS", "True", {"loss", "vid", "sent"}),
        ("MODEL.MMN.PREDICTOR.BATCH_NORM", "frozen", {"loss", "vid", "sent", "iou"}),
        ("SOLVER.AMP", "bf16", {"loss", "vid", "sent", "iou"}),
    ],
)
def test_factor_changes_the_losses_of_a_step(step, key, value, changed):
    # A rate of almost nothing: the second step then meets the weights of the first.
    plain, other = (step("SOLVER.LR", "1e-30", *options)[0] for options in ((), (key, value)))
    for name in changed:
        assert not torch.equal(plain[name], other[name]), name
    if key.startswith("MODEL.MMN.LOSS"):
        for name in {"vid", "sent", "iou"} - changed:
            assert torch.equal(plain[name], other[name]), name


@pytest.mark.parametrize(
    "key, value",
    [
        ("MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS", "0"),
        ("SOLVER.WARMUP_ITERS", "10"),
        ("SOLVER.CLIP_GRAD_NORM", "0"),
        ("SOLVER.EMA_DECAY", "0.5"),
    ],
)
def test_factor_changes_the_weights_after_a_step(step, key, value):
    plain, other = step()[1], step(key, value)[1]
    assert any(not torch.equal(tensor, other[name]) for name, tensor in plain.items())


@pytest.mark.parametrize("key, value", [("MODEL.MMN.PREDICTOR.BATCH_NORM", "sync"), ("SOLVER.SCHEDULE", "cosine")])
def test_factor_is_the_released_behaviour_in_one_step_of_one_process(step, key, value):
    plain, other = step(), step(key, value)
    assert all(torch.equal(tensor, other[1][name]) for name, tensor in plain[1].items())


# ---- Refusals ------------------------------------------------------------------------------------------------------------

LOSS = "MODEL.MMN.LOSS."


@pytest.mark.parametrize(
    "options, said",
    [
        ({f"{LOSS}IOU_WEIGHT": 0, f"{LOSS}CONTRASTIVE_WEIGHT": 0}, "all losses are off"),
        (
            {f"{LOSS}{name}_WEIGHT": 0 for name in ("IOU", "VIDEO_TO_SENTENCE", "SENTENCE_TO_VIDEO")},
            "all losses are off",
        ),
        ({f"{LOSS}IOU_WEIGHT": -1}, "IOU_WEIGHT is -1"),
        ({f"{LOSS}IOU_WEIGHT": 0, "SOLVER.LATE_CONTRASTIVE_FACTOR": 0}, "no loss after epoch 7"),
        (
            {f"{NEGATIVES}SAME_VIDEO_SENTENCES": False, f"{NEGATIVES}OTHER_VIDEO_SENTENCES": False},
            "SENTENCES are both off.*set MODEL.MMN.LOSS.VIDEO_TO_SENTENCE_WEIGHT to 0",
        ),
        (
            {f"{NEGATIVES}SAME_VIDEO_MOMENTS": False, f"{NEGATIVES}OTHER_VIDEO_MOMENTS": False},
            "MOMENTS are both off.*set MODEL.MMN.LOSS.SENTENCE_TO_VIDEO_WEIGHT to 0",
        ),
        (
            {
                f"{LOSS}MEMORY_BANK": 9,
                f"{NEGATIVES}OTHER_VIDEO_SENTENCES": False,
                f"{NEGATIVES}OTHER_VIDEO_MOMENTS": False,
            },
            "MEMORY_BANK is 9",
        ),
        ({f"{LOSS}MEMORY_BANK": -1}, "MEMORY_BANK is -1"),
        ({"MODEL.ARCHITECTURE": "STVG", f"{LOSS}MEMORY_BANK": 9}, "MEMORY_BANK is 9, which is for.*MMN alone"),
        (
            {"MODEL.ARCHITECTURE": "STVG", "TEST.SCORE": "iou"},
            "TEST.SCORE is 'iou', which is for.*MMN and ZERO_SHOT alone",
        ),
        ({"MODEL.MMN.PREDICTOR.BATCH_NORM": "group"}, "BATCH_NORM is 'group'"),
        ({"MODEL.MMN.TEXT_ENCODER.POOLING": "max"}, "POOLING is 'max'"),
        ({"SOLVER.SCHEDULE": "linear"}, "SCHEDULE is 'linear'"),
        ({"SOLVER.AMP": "fp8"}, "AMP is 'fp8'"),
        ({"SOLVER.EMA_DECAY": 1}, "EMA_DECAY is 1"),
        ({"SOLVER.WARMUP_ITERS": -1}, "WARMUP_ITERS is -1"),
        ({"SOLVER.CLIP_GRAD_NORM": -1}, "CLIP_GRAD_NORM is -1"),
        ({"TEST.SCORE": "sum"}, "TEST.SCORE is 'sum'"),
    ],
)
def test_factors_that_make_no_sense_are_refused(options, said):
    cfg = load_config(None, [str(word) for pair in options.items() for word in pair])
    with pytest.raises(ConfigError, match=said):
        validate(cfg)


@pytest.mark.parametrize(
    "options",
    [
        {f"{LOSS}IOU_WEIGHT": 0},
        {f"{LOSS}IOU_WEIGHT": 0, "SOLVER.LATE_CONTRASTIVE_FACTOR": 0, "SOLVER.ONLY_IOU": 12},
        {f"{LOSS}CONTRASTIVE_WEIGHT": 0},
        {
            f"{LOSS}VIDEO_TO_SENTENCE_WEIGHT": 0,
            f"{NEGATIVES}SAME_VIDEO_SENTENCES": False,
            f"{NEGATIVES}OTHER_VIDEO_SENTENCES": False,
        },
        {f"{NEGATIVES}SAME_VIDEO_SENTENCES": False, f"{NEGATIVES}SAME_VIDEO_MOMENTS": False},
        {f"{LOSS}MEMORY_BANK": 9, f"{NEGATIVES}OTHER_VIDEO_MOMENTS": False},
    ],
)
def test_factors_that_leave_something_to_learn_from_are_accepted(options):
    validate(load_config(None, [str(word) for pair in options.items() for word in pair]))


@pytest.mark.parametrize(
    "key, score, warns",
    [
        ("IOU_WEIGHT", "product", True),
        ("IOU_WEIGHT", "iou", True),
        ("IOU_WEIGHT", "contrastive", False),
        ("CONTRASTIVE_WEIGHT", "product", True),
        ("CONTRASTIVE_WEIGHT", "contrastive", True),
        ("CONTRASTIVE_WEIGHT", "iou", False),
        ("VIDEO_TO_SENTENCE_WEIGHT", "product", False),
    ],
)
def test_score_of_a_head_that_no_loss_trains_is_warned_about(key, score, warns):
    cfg = load_config(None, [f"{LOSS}{key}", "0", "TEST.SCORE", score])
    assert (untrained_score(cfg) is not None) is warns


def test_cosine_holds_a_run_to_its_number_of_epochs(dataset_root, tmp_path):
    (tmp_path / "pool_model_1e.pth").touch()
    for schedule in ("multistep", "cosine"):
        options = ["SOLVER.SCHEDULE", schedule, "SOLVER.MAX_EPOCH"]
        (tmp_path / "config.yml").write_text(tiny_config(dataset_root, tmp_path, *options, "3").dump())
        longer = tiny_config(dataset_root, tmp_path, *options, "5")
        if schedule == "cosine":
            with pytest.raises(UserError, match="SOLVER.MAX_EPOCH 3, now 5"):
                refuse_other_config(longer)
        else:
            refuse_other_config(longer)
