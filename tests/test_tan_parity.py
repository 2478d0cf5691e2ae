"""2D-TAN: agreement with the recorded outputs of the official and the third-party program (SPEC sections 9 and 10)."""

import parity
import pytest
import tan_parity
import torch
from torch.testing import assert_close

from golden_fixture import GOLDEN, OFFICIAL_FIXTURES, TAN_FIXTURES, TanFixture
from mmn.data.features import resample_clips
from mmn.modeling.tan2d_weights import official_names
from mmn.utils.checkpoint import load_checkpoint
from mmn.utils.errors import CheckpointError

each_fixture = pytest.mark.parametrize("name", TAN_FIXTURES)
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


# ---- Weights ---------------------------------------------------------------------------------------------------------


def test_third_party_weights_need_the_map_as_its_program_has_it():
    path = str(GOLDEN / "tan" / "thirdparty" / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="set MODEL.TAN2D.MASK_FUSION False"):
        official_names(load_checkpoint(path)["model"], path, masked=True)
