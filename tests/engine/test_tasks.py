"""Which task a config picks, and which configs a task refuses."""

import pytest

from mmn.engine.build import build_task
from mmn.engine.moment_task import MomentTask
from mmn.utils.errors import ConfigError


def test_released_configs_pick_the_moment_task(tiny_cfg):
    assert type(build_task(tiny_cfg)) is MomentTask


def test_unknown_architecture_is_a_sentence(tiny_cfg):
    tiny_cfg.MODEL.ARCHITECTURE = "VSLNet"
    with pytest.raises(ConfigError, match="MODEL.ARCHITECTURE is 'VSLNet': it must be one of 'MMN', 'STVG'"):
        build_task(tiny_cfg)


def test_several_feature_tracks_are_refused_for_moments(tiny_cfg):
    tiny_cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE = [8, 8]
    with pytest.raises(ConfigError, match="moments have one feature file"):
        build_task(tiny_cfg)
