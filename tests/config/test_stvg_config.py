"""The released HC-STVG file, by its own names, and ours."""

import pytest
from tiny import ROOT

from mmn.config import load_config, validate
from mmn.config.load import config_keys
from mmn.config.validate import input_sizes
from mmn.utils.errors import ConfigError

# SPEC section 8.
RELEASED = """
INPUT:
  NUM_PRE_CLIPS: 32
MODEL:
  ARCHITECTURE: "TAN"
  TAN:
    NUM_CLIPS: 16
    JOINT_SPACE_SIZE: 256
    FEATPOOL: {INPUT_SIZE: [1024, 1024], HIDDEN_SIZE: 512, KERNEL_SIZE: 2}
    FEAT2D: {NAME: "pool", POOLING_COUNTS: [15]}
    TEXT_ENCODER: {NAME: "BERT"}
    PREDICTOR: {HIDDEN_SIZE: 512, KERNEL_SIZE: 7, NUM_STACK_LAYERS: 4}
    LOSS:
      MIN_IOU: 0.3
      MAX_IOU: 0.9
      NUM_POSTIVE_VIDEO_PROPOSAL: 1
      NEGATIVE_VIDEO_IOU: 0.5
      SENT_REMOVAL_IOU: 0.5
      TAU_VIDEO: 0.1
      TAU_SENT: 0.1
      MARGIN: 0.4
      CONTRASTIVE_WEIGHT: 0.1
DATASETS:
  NAME: "stvg"
  TRAIN: ("stvg_train",)
  TEST: ("stvg_val",)
SOLVER:
  LR: 0.0001
  BATCH_SIZE: 32
  MILESTONES: (11, 16)
  MAX_EPOCH: 20
  SKIP_TEST: 1
  FREEZE_BERT: 5
  ONLY_IOU: 10
TEST:
  BATCH_SIZE: 32
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


def lookup(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def test_released_file_says_what_ours_does(write):
    released = load_config(write(RELEASED))
    ours = load_config(str(ROOT / "configs" / "pool_stvg_16x16_k7l4.yaml"))
    validate(released)
    different = [key for key in config_keys() if lookup(released, key) != lookup(ours, key)]
    assert different == ["DATALOADER.NUM_WORKERS"]
    assert ours.SOLVER.CLIP_GRAD_NORM == 10


def test_released_name_takes_the_released_clip_unless_the_file_says_otherwise(write):
    assert load_config(write(RELEASED)).SOLVER.CLIP_GRAD_NORM == 10
    text = RELEASED.replace("SOLVER:\n", "SOLVER:\n  CLIP_GRAD_NORM: 3\n")
    assert load_config(write(text)).SOLVER.CLIP_GRAD_NORM == 3


def test_released_names_work_on_the_command_line():
    cfg = load_config(None, ["MODEL.ARCHITECTURE", "TAN", "MODEL.TAN.NUM_CLIPS", "8"])
    assert (cfg.MODEL.ARCHITECTURE, cfg.MODEL.MMN.NUM_CLIPS) == ("STVG", 8)


def test_key_under_both_names_is_refused(write):
    text = "MODEL: {TAN: {NUM_CLIPS: 8}, MMN: {NUM_CLIPS: 16}}"
    with pytest.raises(ConfigError, match="MODEL.MMN.NUM_CLIPS and, by its released name, MODEL.TAN.NUM_CLIPS"):
        load_config(write(text))


def test_unknown_key_of_the_released_section_is_named_with_the_nearest(write):
    with pytest.raises(ConfigError, match="did you mean MODEL.MMN.NUM_CLIPS"):
        load_config(write("MODEL: {TAN: {NUM_CLIP: 8}}"))


@pytest.mark.parametrize(("value", "sizes"), [("7", [7]), ("[7]", [7]), ("[7, 8, 9]", [7, 8, 9]), ("(7, 8)", [7, 8])])
def test_input_size_is_a_width_or_a_list_of_them(value, sizes):
    assert input_sizes(load_config(None, ["MODEL.MMN.FEATPOOL.INPUT_SIZE", value])) == sizes


@pytest.mark.parametrize("value", ["[]", "[7, 0]", "[7, 1.5]", "['a']", "[[7]]"])
def test_input_size_of_another_kind_is_refused(value):
    with pytest.raises(ConfigError, match="FEATPOOL.INPUT_SIZE"):
        validate(load_config(None, ["MODEL.MMN.FEATPOOL.INPUT_SIZE", value]))


def test_written_config_is_read_again(write):
    cfg = load_config(str(ROOT / "configs" / "pool_stvg_16x16_k7l4.yaml"))
    assert load_config(write(cfg.dump())) == cfg


def test_tube_index_is_one_of_two():
    with pytest.raises(ConfigError, match="LOSS.TUBE_INDEX is 'video'"):
        validate(load_config(None, ["MODEL.MMN.LOSS.TUBE_INDEX", "video"]))


def test_tube_index_is_refused_for_moments():
    with pytest.raises(ConfigError, match="TUBE_INDEX is 'batch', which is for MODEL.ARCHITECTURE STVG alone, not MMN"):
        validate(load_config(None, ["MODEL.MMN.LOSS.TUBE_INDEX", "batch"]))
