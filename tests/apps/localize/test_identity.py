"""A model's identity is read of its weights once, and anew when they have changed."""

import pytest
import torch
from localizing import checkpoint_content

from mmn.apps.localize import identity
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.utils.weight_hash import weights_sha256


@pytest.fixture
def encoder(tiny_cfg, tmp_path):
    torch.save(checkpoint_content(tiny_cfg), tmp_path / "model.pth")
    return MomentLocalizer.from_checkpoint(tmp_path / "model.pth", device="cpu").encoder


def test_weights_that_stayed_are_read_once(encoder, monkeypatch):
    reads = []
    monkeypatch.setattr(
        identity, "weights_sha256", lambda *args, **words: reads.append(1) or weights_sha256(*args, **words)
    )
    first = identity.model_identity(encoder)
    assert identity.model_identity(encoder) == first and len(reads) == 1


@pytest.mark.parametrize("through_data", [False, True])
def test_identity_follows_weights_that_change_in_place(encoder, through_data):
    before = identity.model_identity(encoder)
    weight = encoder.model.proposal_conv.convs[0].weight
    (weight.data if through_data else weight).mul_(2)
    changed = identity.model_identity(encoder)
    (weight.data if through_data else weight).div_(2)
    assert changed != before and identity.model_identity(encoder) == before


def test_identity_is_that_of_another_map_too(encoder):
    before = identity.model_identity(encoder)
    encoder.num_pre_clips *= 2
    assert identity.model_identity(encoder) != before
