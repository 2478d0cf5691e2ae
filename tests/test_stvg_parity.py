"""HC-STVG: agreement with the recorded outputs of the reference program, within the tolerances of SPEC section 9."""

import json

import parity
import pytest
import stvg_parity
import torch
from real_annotations import ROOT
from torch.testing import assert_close
from transformers import DistilBertConfig

from golden_fixture import GOLDEN, STVG_FIXTURES, StvgFixture
from mmn.config import load_config
from mmn.engine.tasks import find_task
from mmn.evaluation.tube_metrics import predicted_pieces
from mmn.modeling import build_proposal_cells

each_fixture = pytest.mark.parametrize("name", STVG_FIXTURES)


@pytest.fixture
def golden(name) -> StvgFixture:
    return stvg_parity.fixture(name)


def test_there_is_a_fixture():
    assert STVG_FIXTURES, f"no fixture of HC-STVG in {GOLDEN}"


@each_fixture
def test_resampling_of_tracks(golden, name):
    assert_close(stvg_parity.resampled(name), golden.recorded_maps("pooled"), rtol=0, atol=1e-6)


@each_fixture
def test_iou_maps(golden, name):
    assert_close(stvg_parity.iou_maps(name), golden.recorded_maps("stiou2d"), rtol=0, atol=1e-6)


@each_fixture
@pytest.mark.parametrize("kind", ["contrastive", "iou"])
def test_scores(golden, name, kind):
    measured = build_proposal_cells(golden.cfg).to_map(stvg_parity.score_maps(name)[kind == "iou"])
    assert parity.absolute_error(measured, golden.recorded_maps(kind, "eval.npz")) <= 1e-5


@each_fixture
@pytest.mark.parametrize("loss", ["vid", "sent", "iou"])
def test_loss(golden, name, loss):
    recorded = golden.recorded("train_step.npz")[f"loss_{loss}"]
    assert_close(stvg_parity.train_step(name)[0][loss], recorded, rtol=1e-6, atol=0)


@each_fixture
def test_every_gradient(golden, name):
    model = stvg_parity.train_step(name)[1]
    recorded = {key: value for key, value in golden.recorded("train_step.npz").items() if key.startswith("grad_")}
    norm = recorded.pop("grad_featpool_conv_weight_norm")
    assert_close(model.featpool.conv.weight.grad.norm(), norm, rtol=1e-5, atol=0)
    parameters = {f"grad_{key}": value for key, value in model.named_parameters()}
    unused = {f"grad_featpool.{layer}.{kind}" for layer in ("fc1", "fc2") for kind in ("weight", "bias")}
    assert parameters.keys() - recorded.keys() == unused | {"grad_featpool.conv.weight"}
    assert all(parameters[key].grad is None for key in unused)
    for key, value in recorded.items():
        parity.assert_gradient_close(parameters[key].grad, value, key)


@each_fixture
def test_batch_norm_buffers_after_a_step(golden, name):
    buffers = dict(stvg_parity.train_step(name)[1].named_buffers())
    recorded = {key: value for key, value in golden.recorded("train_step.npz").items() if key.startswith("bn_")}
    assert recorded
    for key, value in recorded.items():
        assert_close(buffers[key.removeprefix("bn_")], value, rtol=1e-5, atol=1e-6)


@each_fixture
def test_predictions(golden, name):
    recorded = golden.meta["predictions"]
    pieces = predicted_pieces(stvg_parity.predictions(name), [golden.tubes(video) for video in golden.videos])
    for number, piece in pieces:
        wanted = recorded[golden.video_ids[number]]
        frames = range(wanted["st_frame"], wanted["ed_frame"] + 1)
        assert (int(piece.first_frames), int(piece.lengths)) == (frames[0], len(frames))
        boxes = torch.tensor([wanted["bbox"][str(frame)] for frame in frames])
        assert torch.equal(piece.boxes, boxes)


@each_fixture
def test_metrics(name):
    measured, recorded = stvg_parity.metrics(name)
    assert measured == pytest.approx(recorded, abs=1e-6)


def test_state_dict_of_released_config(tmp_path):
    DistilBertConfig().save_pretrained(tmp_path)
    recorded = json.loads((GOLDEN / "state_dict_shapes.json").read_text())["stvg"]
    options = ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", str(tmp_path)]
    cfg = load_config(str(ROOT / "configs" / "pool_stvg_16x16_k7l4.yaml"), options)
    with torch.device("meta"):
        state = find_task(cfg).build_model(cfg, False).state_dict()
    recorded = {key.removeprefix("module."): shape for key, shape in recorded.items()}
    recorded = {key: shape for key, shape in recorded.items() if not key.endswith(".position_ids")}
    assert {key: list(value.shape) for key, value in state.items()} == recorded
