"""HC-STVG: agreement with the recorded outputs of the reference program, within the tolerances of SPEC section 9."""

import functools
import json

import parity
import pytest
import torch
from real_annotations import ROOT
from torch import Tensor
from torch.testing import assert_close
from transformers import DistilBertConfig

from golden_fixture import GOLDEN, STVG_FIXTURES, StvgFixture
from mmn.config import load_config
from mmn.data.tubes import resample_tube
from mmn.engine.build import build_task
from mmn.engine.tube_evaluation import TubePredictions, predicted_pieces, tube_ious, tube_metrics, tube_sums
from mmn.engine.tube_task import TubeRanker
from mmn.modeling import build_proposal_cells
from mmn.modeling.scoring import iou_score
from mmn.modeling.tubes import tube_cosines
from mmn.structures.tubes import tube_iou_maps

each_fixture = pytest.mark.parametrize("name", STVG_FIXTURES)


@functools.cache
def fixture(name: str) -> StvgFixture:
    return StvgFixture(name)


@pytest.fixture
def golden(name) -> StvgFixture:
    return fixture(name)


@functools.cache
@torch.no_grad()
def score_maps(name: str) -> tuple[Tensor, Tensor]:
    """Scores (contrastive, iou) of all tubes, [T, M]."""
    golden = fixture(name)
    batch = golden.batch()
    output = golden.model().eval()(batch)
    contrastive = tube_cosines(output.sentences_contrastive, output.moments_contrastive, batch.tubes)
    return contrastive, iou_score(tube_cosines(output.sentences_iou, output.moments_iou, batch.tubes))


@functools.cache
def train_step(name: str) -> tuple[dict[str, Tensor], torch.nn.Module]:
    """Losses of a step, and the model with the gradients of the fixture's total."""
    golden = fixture(name)
    model, batch = golden.model(), golden.batch()
    losses = build_task(golden.cfg).build_criterion()(model(batch), batch)
    weight = golden.cfg.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT
    (losses["iou"] + weight * (losses["vid"] + losses["sent"])).backward()
    return {key: loss.detach() for key, loss in losses.items()}, model


@functools.cache
def predictions(name: str) -> TubePredictions:
    golden = fixture(name)
    batch = golden.batch()
    with torch.no_grad():
        output = golden.model().eval()(batch)
    ranked = TubeRanker(build_proposal_cells(golden.cfg))(output, batch)
    return TubePredictions(batch.sentence_ids, *ranked)


def test_there_is_a_fixture():
    assert STVG_FIXTURES, f"no fixture of HC-STVG in {GOLDEN}"


@each_fixture
def test_resampling_of_tracks(golden):
    tracks = range(len(golden.meta["config"]["INPUT_SIZE"]))
    for video in golden.videos:
        for tube, recorded in enumerate(golden.arrays[f"v{video}_pooled"]):
            rows = [golden.arrays[f"v{video}_t{tube}_track{track}"].numpy() for track in tracks]
            assert_close(torch.from_numpy(resample_tube(rows, len(recorded))), recorded, rtol=0, atol=1e-6)


@each_fixture
def test_iou_maps(golden):
    cells = build_proposal_cells(golden.cfg)
    measured = cells.to_map(tube_iou_maps(cells, *golden.all_tubes()))
    assert_close(measured, golden.recorded_maps("stiou2d"), rtol=0, atol=1e-6)


@each_fixture
@pytest.mark.parametrize("kind", ["contrastive", "iou"])
def test_scores(golden, name, kind):
    measured = build_proposal_cells(golden.cfg).to_map(score_maps(name)[kind == "iou"])
    assert parity.absolute_error(measured, golden.recorded_maps(kind, "eval.npz")) <= 1e-5


@each_fixture
@pytest.mark.parametrize("loss", ["vid", "sent", "iou"])
def test_loss(golden, name, loss):
    recorded = golden.recorded("train_step.npz")[f"loss_{loss}"]
    assert_close(train_step(name)[0][loss], recorded, rtol=1e-6, atol=0)


@each_fixture
def test_every_gradient(golden, name):
    model = train_step(name)[1]
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
    buffers = dict(train_step(name)[1].named_buffers())
    recorded = {key: value for key, value in golden.recorded("train_step.npz").items() if key.startswith("bn_")}
    assert recorded
    for key, value in recorded.items():
        assert_close(buffers[key.removeprefix("bn_")], value, rtol=1e-5, atol=1e-6)


@each_fixture
def test_predictions(golden, name):
    recorded = golden.meta["predictions"]
    pieces = predicted_pieces(predictions(name), [golden.tubes(video) for video in golden.videos])
    for number, piece in pieces:
        wanted = recorded[golden.video_ids[number]]
        frames = range(wanted["st_frame"], wanted["ed_frame"] + 1)
        assert (int(piece.first_frames), int(piece.lengths)) == (frames[0], len(frames))
        boxes = torch.tensor([wanted["bbox"][str(frame)] for frame in frames])
        assert torch.equal(piece.boxes, boxes)


@each_fixture
def test_metrics(golden, name):
    tubes, truths = [golden.tubes(video) for video in golden.videos], [golden.truth(video) for video in golden.videos]
    pieces = [piece for _, piece in predicted_pieces(predictions(name), tubes)]
    measured = tube_metrics(tube_sums(*tube_ious(pieces, truths), (0.3, 0.5)), (0.3, 0.5))
    wanted = {**golden.meta["recall"], "m_vIoU": golden.meta["viou"], "m_tIoU": golden.meta["tiou"]}
    assert measured == pytest.approx(wanted, abs=1e-6)


def test_state_dict_of_released_config(tmp_path):
    DistilBertConfig().save_pretrained(tmp_path)
    recorded = json.loads((GOLDEN / "state_dict_shapes.json").read_text())["stvg"]
    options = ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", str(tmp_path)]
    cfg = load_config(str(ROOT / "configs" / "pool_stvg_16x16_k7l4.yaml"), options)
    with torch.device("meta"):
        state = build_task(cfg).build_model(pretrained_text=False).state_dict()
    recorded = {key.removeprefix("module."): shape for key, shape in recorded.items()}
    recorded = {key: shape for key, shape in recorded.items() if not key.endswith(".position_ids")}
    assert {key: list(value.shape) for key, value in state.items()} == recorded
