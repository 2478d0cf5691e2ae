"""A dual encoder as a network that grounds: moments are means of frames, and what is compared is of one width."""

import pytest
import torch
from dual_models import write_dual
from torch.nn import functional as F
from torch.testing import assert_close

from mmn.config import load_config
from mmn.modeling.build import build_dual_encoder
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
