"""Which task a config picks, and which configs a task refuses."""

import pytest
from tiny import ROOT

from mmn.config import load_config
from mmn.data.splits import Splits
from mmn.engine.tasks import MMN_TASK, STVG_TASK, find_task
from mmn.utils.errors import ConfigError


@pytest.mark.parametrize(
    "file, task", [("pool_tacos_128x128_k5l8.yaml", MMN_TASK), ("pool_stvg_16x16_k7l4.yaml", STVG_TASK)]
)
def test_released_config_picks_its_task(file, task):
    assert find_task(load_config(str(ROOT / "configs" / file))) is task


def test_unknown_architecture_is_a_sentence(tiny_cfg):
    tiny_cfg.MODEL.ARCHITECTURE = "VSLNet"
    with pytest.raises(ConfigError, match="MODEL.ARCHITECTURE is 'VSLNet': it must be one of 'MMN', .*'STVG'"):
        find_task(tiny_cfg)


def test_several_positives_are_refused_for_tubes(stvg_cfg):
    stvg_cfg.MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL = 3
    with pytest.raises(ConfigError, match="NUM_POSTIVE_VIDEO_PROPOSAL is 3"):
        find_task(stvg_cfg)


def test_split_of_moments_is_refused_for_tubes(stvg_cfg):
    with pytest.raises(
        ConfigError, match="'charades_train' is one of moments, but MODEL.ARCHITECTURE 'STVG' reads tubes"
    ):
        STVG_TASK.build_dataset(stvg_cfg, Splits(stvg_cfg).find("charades_train"), None)


def test_split_of_tubes_is_refused_for_moments(tiny_cfg):
    with pytest.raises(ConfigError, match="'stvg_train' is one of tubes, but MODEL.ARCHITECTURE 'MMN' reads moments"):
        MMN_TASK.check_files(tiny_cfg, Splits(tiny_cfg).find("stvg_train"))


def test_widths_that_are_not_one_per_track_are_refused_for_tubes(stvg_cfg):
    stvg_cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE = [8, 8, 8]
    with pytest.raises(ConfigError, match="the split has 2 feature tracks"):
        STVG_TASK.check_files(stvg_cfg, Splits(stvg_cfg).find("synthetic_stvg_train"))
