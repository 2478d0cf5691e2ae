"""A dual encoder as a network that grounds: moments are means of frames, and what is compared is of one width."""

import pytest
import torch
from dual_models import write_dual
from tiny import random_batch, tiny_config
from torch.nn import functional as F
from torch.testing import assert_close

from mmn.config import load_config, override_config
from mmn.engine.tasks import build_moment_ranker
from mmn.modeling.build import build_criterion, build_dual_encoder, build_model
from mmn.modeling.dual_encoder import FrameMoments
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import ConfigError

CELLS = ProposalCells(8, [5])


def test_a_moment_is_the_mean_of_its_clips_unit_vectors():
    feats = torch.randn(2, 16, 5, generator=torch.Generator().manual_seed(0))  # two rows a clip
    found = FrameMoments(CELLS)(feats)
    clips = F.normalize(feats.view(2, 8, 2, 5).mean(dim=2), dim=-1)
    for cell, (row, col) in enumerate(zip(CELLS.rows.tolist(), CELLS.cols.tolist(), strict=True)):
        assert_close(found[:, cell], F.normalize(clips[:, row : col + 1].mean(dim=1), dim=-1), rtol=1e-6, atol=1e-7)
    assert_close(CELLS.diagonal(found.mT).mT, clips)


def test_features_of_another_width_than_the_sentences_are_refused(tmp_path):
    folder = write_dual(tmp_path / "clip", "clip")  # vectors of 6 numbers
    options = ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", folder, "MODEL.MMN.TEXT_ENCODER.POOLING", "own"]
    with pytest.raises(ConfigError, match="vectors of width 6, MODEL.MMN.FEATPOOL.INPUT_SIZE is 4096"):
        build_dual_encoder(load_config(None, options))


# ---- Training that starts there ----------------------------------------------------------------------------------------


@pytest.fixture
def started(dataset_root):
    """A config, an MMN that starts as a dual encoder, and the dual encoder, over the same random text encoder."""

    def config(*options):
        words = ["MODEL.MMN.FEATPOOL.INPUT_SIZE", "64", "MODEL.MMN.JOINT_SPACE_SIZE", "64", *options]
        return tiny_config(dataset_root, "output", *words)

    torch.manual_seed(0)
    trained = build_model(config("MODEL.MMN.DUAL_START", "True"))
    return config("TEST.CONTRASTIVE_RULE", "scaled"), trained.eval(), build_dual_encoder(config()).eval()


BATCH = random_batch((2, 3), num_pre_clips=32, input_size=64)


@torch.no_grad()
def test_before_a_first_step_moments_are_ranked_as_the_dual_encoder_ranks_them(started):
    cfg, trained, dual = started
    assert_close(trained(BATCH).moments_contrastive, dual(BATCH).moments_contrastive)
    assert_close(trained(BATCH).sentences_contrastive, dual(BATCH).sentences_contrastive)
    zero_shot = build_moment_ranker(override_config(cfg, ["TEST.SCORE", "contrastive"]))
    ranked, wanted = build_moment_ranker(cfg)(trained(BATCH), BATCH)[0], zero_shot(dual(BATCH), BATCH)[0]
    assert torch.equal(ranked, wanted)


def test_a_step_reaches_every_part(started):
    cfg, trained, _ = started
    for parameter in trained.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)  # at exactly 0 the last layers hide those before them
    sum(build_criterion(cfg)(trained.train()(BATCH), BATCH).values()).backward()
    assert [name for name, value in trained.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_a_first_step_moves_the_last_layers_from_zero(started):
    cfg, trained, _ = started
    sum(build_criterion(cfg)(trained.train()(BATCH), BATCH).values()).backward()
    for layer in (trained.proposal_conv.conv1x1_contrastive, trained.text_encoder.fc_out2):
        assert layer.weight.grad.abs().max() > 0
