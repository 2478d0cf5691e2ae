"""2D-TAN: agreement with the recorded outputs of the official and the third-party program (SPEC sections 9 and 10)."""

import json
import operator

import numpy as np
import parity
import pytest
import tan_parity
import torch
from real_annotations import ANNOTATIONS, needs_real_annotations
from torch.testing import assert_close

from golden_fixture import GOLDEN, OFFICIAL_FIXTURES, TAN_FIXTURES, TanFixture
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.config import get_cfg
from mmn.config.paths_catalog import CATALOG
from mmn.data.annotations import read_annotations
from mmn.data.features import resample_clips
from mmn.evaluation.inference import Predictions
from mmn.evaluation.recall import count_hits, recall_metrics
from mmn.evaluation.tan2d_metrics import MapRanker, exact_ious
from mmn.modeling.tan2d_weights import official_names
from mmn.solver import build_scheduler, step_after_evaluation
from mmn.structures.proposals import ProposalCells
from mmn.utils.checkpoint import load_checkpoint
from mmn.utils.errors import CheckpointError

PLATEAU = json.loads((GOLDEN / "tan" / "plateau.json").read_text())

each_fixture = pytest.mark.parametrize("name", TAN_FIXTURES)
# Where two values nearly tie, the last digits decide what Adam makes a whole step of. So the recorded training is held to
# the tolerances of SPEC section 10 in float64, and in float32, as people train, to twice what 12 runs whose weights began
# 8 units in the last place away were seen to differ by (see rounding.py): scores by 6.9e-4, weights by 2.1e-4.
PRECISIONS = {torch.float64: (1e-5, 1e-4), torch.float32: (1.4e-3, 4.2e-4)}
each_precision = pytest.mark.parametrize("dtype", PRECISIONS, ids=["float64", "float32"])
each_official_fixture = pytest.mark.parametrize("name", OFFICIAL_FIXTURES)


@pytest.fixture
def golden(name) -> TanFixture:
    return tan_parity.fixture(name)


def test_there_are_fixtures():
    assert TAN_FIXTURES, f"no fixture of 2D-TAN in {GOLDEN}"


# ---- Inputs ----------------------------------------------------------------------------------------------------------


@each_fixture
def test_resampling(golden):
    for video, recorded in enumerate(golden.arrays["pooled"]):
        measured = torch.from_numpy(resample_clips(golden.arrays[f"raw_{video}"].numpy(), len(recorded)))
        assert_close(measured, recorded, rtol=0, atol=1e-6)


@each_fixture
def test_words_and_their_vectors(golden):
    batch = golden.batch()
    assert torch.equal(batch.token_mask.sum(dim=1)[batch.token_rows], golden.arrays["lengths"])
    vectors = batch.tokens * batch.token_mask[..., None]
    assert torch.equal(vectors[batch.token_rows], golden.arrays["words"][:, : vectors.shape[1]])


@each_fixture
def test_iou_maps_exactly(golden, name):
    assert torch.equal(tan_parity.iou_maps(name), golden.cells.from_map(golden.arrays["ious"]))


@each_fixture
def test_valid_cells(golden):
    assert torch.equal(golden.cells.mask, golden.recorded("eval.npz")["mask"])


# ---- Inference -------------------------------------------------------------------------------------------------------


@each_fixture
def test_every_intermediate_map(golden, name):
    recorded, measured = golden.recorded("eval.npz"), tan_parity.intermediate_maps(name)
    names = {
        key for key in recorded if key.startswith(("frame", "clips", "map", "fused", "sentence", "weight", "conv"))
    }
    assert names <= measured.keys()
    for key in names:
        assert_close(measured[key], recorded[key], rtol=1e-5, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


@each_fixture
def test_scores(golden, name):
    assert parity.absolute_error(tan_parity.score_maps(name)[1], golden.recorded("eval.npz")["scores"]) <= 1e-5


@each_fixture
def test_localizer_scores_raw_features_and_sentences_as_recorded(golden):
    """The whole way of the Python API, with a checkpoint as its program writes it."""
    localizer = MomentLocalizer.from_checkpoint(golden.folder / "checkpoint.pth", golden.cfg, "cpu")
    measured = []
    for number, video in enumerate(golden.annotations()):
        rows = golden.arrays[f"raw_{number}"].numpy()
        maps = localizer.score_maps(rows, video.sentences, duration=video.duration)
        measured.append(torch.from_numpy(maps.final[:, 0]))
    assert parity.absolute_error(torch.cat(measured), golden.recorded("eval.npz")["scores"]) <= 1e-5


@each_fixture
def test_logits(golden, name):
    recorded = golden.recorded("eval.npz")["logits"]
    assert_close(tan_parity.score_maps(name)[0], recorded * golden.cells.mask, rtol=1e-5, atol=2e-5)


# ---- Training --------------------------------------------------------------------------------------------------------


@each_fixture
def test_loss_and_gradient_norm(golden, name):
    recorded, (loss, _, norm) = golden.recorded("train_step.npz"), tan_parity.train_step(name)
    assert_close(loss.double(), recorded["loss"], rtol=1e-6, atol=0)
    assert_close(norm.double(), recorded["grad_norm"], rtol=1e-6, atol=0)


@each_fixture
def test_every_gradient(golden, name):
    gradients, recorded = tan_parity.train_step(name)[1], golden.recorded_weights("grad.", "train_step.npz")
    assert gradients.keys() == recorded.keys()
    for key, value in recorded.items():
        parity.assert_gradient_close(gradients[key], value, key)


@each_official_fixture
def test_loss_of_every_validation_batch(golden, name):
    recorded = golden.recorded("eval.npz")["losses"]
    batches = tan_parity.sentence_losses(name).split(golden.sentence_batch)
    assert_close(torch.stack([losses.mean() for losses in batches]).double(), recorded, rtol=1e-6, atol=0)


@each_fixture
@each_precision
def test_trajectory(golden, name, dtype):
    rows, recorded = tan_parity.trajectory(name, dtype)[0], golden.recorded("trajectory.npz")["rows"]
    assert torch.equal(rows[:, :2], recorded[:, :2])
    assert_close(rows[:, 2:], recorded[:, 2:], rtol=1e-5, atol=0)
    assert_close(rows[:, 4], recorded[:, 4], rtol=1e-12, atol=0)


@each_official_fixture
@each_precision
def test_evaluations_inside_the_epochs(golden, name, dtype):
    measured, recorded = tan_parity.trajectory(name, dtype)[1], golden.recorded("trajectory.npz")["evaluations"]
    assert_close(measured, recorded, rtol=1e-5, atol=0)
    assert_close(measured[:, 2], recorded[:, 2], rtol=1e-12, atol=0)


@each_fixture
@each_precision
def test_trained_weights_and_scores(golden, name, dtype):
    weights, scores = tan_parity.trajectory(name, dtype)[2:]
    score_limit, weight_limit = PRECISIONS[dtype]
    recorded = golden.recorded_weights("final.", "trajectory.npz")
    assert weights.keys() == recorded.keys()
    for key, value in recorded.items():
        assert parity.absolute_error(weights[key], value) <= weight_limit, key
    assert parity.absolute_error(scores, golden.recorded("trajectory.npz")["scores"]) <= score_limit


@pytest.mark.parametrize("case", PLATEAU["cases"])
def test_rate_of_the_released_plateau(case):
    cfg = get_cfg()
    cfg.DATASETS.VAL, cfg.SOLVER.SCHEDULE = ("val",), "plateau"
    cfg.SOLVER.PLATEAU_FACTOR, cfg.SOLVER.PLATEAU_PATIENCE = PLATEAU["factor"], PLATEAU["patience"]
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=PLATEAU["lr"])
    scheduler, rates = build_scheduler(cfg, optimizer), []
    for loss in PLATEAU["cases"][case]["val_loss"]:
        step_after_evaluation(cfg, scheduler, loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx(PLATEAU["cases"][case]["lr_after"], rel=1e-12)


# ---- Ranking and metric ----------------------------------------------------------------------------------------------


@each_official_fixture
@pytest.mark.parametrize("kind, num_kept", [("nms", 5), ("nms_all", 300)])
def test_moments_that_suppression_keeps(golden, name, kind, num_kept):
    recorded = golden.recorded("eval.npz")
    for number, kept in enumerate(tan_parity.kept_moments(name, num_kept)):
        assert torch.equal(kept.double(), recorded[f"{kind}_{number}"])


@each_official_fixture
def test_metrics(golden, name):
    truths = [torch.from_numpy(own) for video in golden.annotations() for own in video.windows]
    moments = torch.stack(tan_parity.kept_moments(name, 5))
    ious = exact_ious(Predictions(torch.arange(len(truths)), moments, torch.ones(moments.shape[:2])), truths)
    thresholds = golden.meta["thresholds"]
    measured = recall_metrics(count_hits(ious, thresholds, operator.gt), len(ious), thresholds)
    measured["mIoU"] = ious[:, 0].mean().item()
    assert {key: measured[key] for key in golden.meta["metrics"]} == pytest.approx(golden.meta["metrics"], abs=1e-12)


@needs_real_annotations
@pytest.mark.parametrize("dataset", ["charades", "activitynet", "tacos"])
def test_recall_table_of_seeded_scores(dataset):
    content = json.loads((GOLDEN / "tan" / "recall.json").read_text())
    table, rng = content[dataset], np.random.default_rng(content["seed"])
    cells = ProposalCells(table["num_clips"], table["pooling_counts"])
    ranker = MapRanker(cells, table["nms_thresh"], num_predictions=5)
    videos = read_annotations(str(ANNOTATIONS / table["annotation"]), CATALOG[f"{dataset}_test"].time_unit)
    ious = []
    for video in videos[: table["videos"]]:
        truths = [torch.from_numpy(own) for own in video.windows[: table["sentences_per_video_at_most"]]]
        size = (len(truths), *cells.mask.shape)
        scores = torch.from_numpy(rng.random(size, dtype=np.float32) * cells.mask.numpy())
        ranked = ranker.rank(cells.from_map(scores), torch.full((len(truths),), video.duration))
        ious.append(exact_ious(Predictions(torch.arange(len(truths)), *ranked), truths))
    ious = torch.cat(ious)
    thresholds = sorted({float(name.partition("IoU@")[2]) for name in table["recall"] if "@" in name})
    measured = recall_metrics(count_hits(ious, thresholds, operator.gt), len(ious), thresholds)
    measured["mIoU"] = ious[:, 0].mean().item()
    assert len(ious) == table["sentences"]
    assert {key: measured[key] for key in table["recall"]} == pytest.approx(table["recall"], abs=1e-6)


# ---- Weights ---------------------------------------------------------------------------------------------------------


def test_third_party_weights_need_the_map_as_its_program_has_it():
    path = str(GOLDEN / "tan" / "thirdparty" / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="set MODEL.TAN2D.MASK_FUSION False"):
        official_names(load_checkpoint(path)["model"], path, masked=True)


@each_official_fixture
def test_bare_weights_in_the_old_format_load_as_they_are(golden, tmp_path):
    """The form of the official `.pkl` files."""
    path = str(tmp_path / "weights.pkl")
    weights = golden.model().state_dict()
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    loaded = official_names(load_checkpoint(path)["model"], path, masked=True)
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())
    assert loaded.keys() == weights.keys()
