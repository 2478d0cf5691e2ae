"""Reading a config: the released values, types, and errors that name the key."""

import pytest
import yaml
from tiny import ROOT

from mmn.config import get_cfg, load_config, load_config_text, override_config, validate
from mmn.config.load import config_keys
from mmn.utils.errors import ConfigError

# SPEC section 7: key, default, TACoS, ActivityNet, Charades.
TABLE = """
MODEL.ARCHITECTURE | "MMN" | "MMN" | "MMN" | "MMN"
INPUT.NUM_PRE_CLIPS | 256 | 256 | 256 | 32
MODEL.MMN.NUM_CLIPS | 128 | 128 | 64 | 16
MODEL.MMN.JOINT_SPACE_SIZE | 256 | 256 | 256 | 256
MODEL.MMN.FEATPOOL.INPUT_SIZE | 4096 | 4096 | 500 | 4096
MODEL.MMN.FEATPOOL.HIDDEN_SIZE | 512 | 512 | 512 | 512
MODEL.MMN.FEATPOOL.KERNEL_SIZE | 2 | 2 | 4 | 2
MODEL.MMN.FEAT2D.NAME | "pool" | "pool" | "pool" | "pool"
MODEL.MMN.FEAT2D.POOLING_COUNTS | [15, 8, 8, 8] | [15, 8, 8, 8] | [15, 8, 8] | [15]
MODEL.MMN.TEXT_ENCODER.NAME | "BERT" | "BERT" | "BERT" | "BERT"
MODEL.MMN.PREDICTOR.HIDDEN_SIZE | 512 | 512 | 512 | 512
MODEL.MMN.PREDICTOR.KERNEL_SIZE | 5 | 5 | 9 | 5
MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS | 8 | 8 | 4 | 8
MODEL.MMN.LOSS.MIN_IOU | 0.3 | 0.3 | 0.5 | 0.5
MODEL.MMN.LOSS.MAX_IOU | 0.7 | 0.7 | 1.0 | 1.0
MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL | 1 | 3 | 1 | 1
MODEL.MMN.LOSS.NEGATIVE_VIDEO_IOU | 0.5 | 0.5 | 0.5 | 0.5
MODEL.MMN.LOSS.SENT_REMOVAL_IOU | 0.5 | 0.5 | 0.5 | 0.5
MODEL.MMN.LOSS.TAU_VIDEO | 0.2 | 0.1 | 0.1 | 0.1
MODEL.MMN.LOSS.TAU_SENT | 0.2 | 0.1 | 0.1 | 0.1
MODEL.MMN.LOSS.MARGIN | 0.2 | 0.1 | 0.3 | 0.4
MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT | 0.05 | 0.1 | 0.1 | 0.05
MODEL.MMN.LOSS.BCE_WEIGHT | 1 | 1 | 1 | 1
MODEL.MMN.LOSS.PAIRWISE_SENT_WEIGHT | 0.0 | 0.0 | 0.0 | 0.0
DATASETS.NAME | "" | "tacos" | "activitynet" | "charades"
DATASETS.TRAIN | () | ("tacos_train",) | ("activitynet_train",) | ("charades_train",)
DATASETS.TEST | () | ("tacos_test",) | ("activitynet_test",) | ("charades_test",)
DATALOADER.NUM_WORKERS | 4 | 12 | 16 | 16
SOLVER.LR | 0.01 | 0.0015 | 0.0008 | 0.0001
SOLVER.BATCH_SIZE | 32 | 4 | 48 | 48
SOLVER.MILESTONES | (8, 11) | (130, 190) | (7, 15) | (8, 13)
SOLVER.MAX_EPOCH | 12 | 250 | 18 | 18
SOLVER.TEST_PERIOD | 1 | 10 | 1 | 1
SOLVER.CHECKPOINT_PERIOD | 1 | 10 | 1 | 1
SOLVER.SKIP_TEST | 0 | 0 | 3 | 0
SOLVER.FREEZE_BERT | 4 | 40 | 4 | 4
SOLVER.ONLY_IOU | 7 | 100 | 6 | 7
SOLVER.RESUME | False | False | False | False
SOLVER.RESUME_EPOCH | 1 | 101 | 6 | 7
TEST.BATCH_SIZE | 64 | 16 | 48 | 48
TEST.NMS_THRESH | 0.5 | 0.4 | 0.5 | 0.5
TEST.CONTRASTIVE_SCORE_POW | 0.5 | 0.3 | 0.5 | 0.5
OUTPUT_DIR | "." | "." | "." | "."
"""
ROWS = [[part.strip() for part in line.split(" | ")] for line in TABLE.strip().splitlines()]
RELEASED = [None, "tacos_128x128_k5l8", "activitynet_64x64_k9l4", "charades_16x16_k5l8"]


def lookup(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def nested(pairs):
    """{"A.B": 1} -> {"A": {"B": 1}}"""
    tree = {}
    for key, value in pairs.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return tree


def parse(text):
    return eval(text, {"__builtins__": {}})  # noqa: S307 (literals of the table above)


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write_file


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_default_is_the_released_one(row):
    value = lookup(get_cfg(), row[0])
    assert value == parse(row[1])
    assert type(value) is type(parse(row[1]))


@pytest.mark.parametrize("column", [1, 2, 3], ids=["tacos", "activitynet", "charades"])
@pytest.mark.parametrize("row", ROWS[:-1], ids=[row[0] for row in ROWS[:-1]])
def test_released_config_has_the_released_value(row, column):
    cfg = load_config(str(ROOT / "configs" / f"pool_{RELEASED[column]}.yaml"))
    assert lookup(cfg, row[0]) == parse(row[column + 1])


@pytest.mark.parametrize("dataset", RELEASED[1:])
def test_conv_config_differs_from_the_pool_one_in_the_map_alone(dataset):
    pool, conv = (load_config(str(ROOT / "configs" / f"{name}_{dataset}.yaml")) for name in ("pool", "conv"))
    changed = [key for key in config_keys() if lookup(pool, key) != lookup(conv, key)]
    assert changed in (["MODEL.MMN.FEAT2D.NAME"], ["MODEL.MMN.FEAT2D.NAME", "OUTPUT_DIR"])


@pytest.mark.parametrize("column", [1, 2, 3], ids=["tacos", "activitynet", "charades"])
def test_a_file_with_all_released_keys_loads(write, column):
    """As the released files write them: tuples as text, `MODEL.DEVICE` cuda, a path in PATHS_CATALOG's place absent."""
    values = {row[0]: parse(row[column + 1]) for row in ROWS} | {"MODEL.DEVICE": "cuda"}
    values = {key: str(value) if isinstance(value, tuple) else value for key, value in values.items()}
    cfg = load_config(write(yaml.safe_dump(nested(values))))
    assert [lookup(cfg, row[0]) for row in ROWS] == [parse(row[column + 1]) for row in ROWS]


def test_loading_leaves_the_defaults_alone():
    load_config(None, ["SOLVER.LR", "0.5"])
    assert get_cfg().SOLVER.LR == 0.01


def test_options_win_over_the_file(write):
    path = write("SOLVER: {LR: 0.5, BATCH_SIZE: 4}")
    cfg = load_config(path, ["SOLVER.LR", "0.25"])
    assert (cfg.SOLVER.LR, cfg.SOLVER.BATCH_SIZE, cfg.SOLVER.MAX_EPOCH) == (0.25, 4, 12)


def test_loaded_config_is_frozen():
    with pytest.raises(AttributeError):
        load_config().SOLVER.LR = 1.0


# ---- Types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, text, value",
    [
        ("SOLVER.LR", "1", 1.0),
        ("SOLVER.LR", "1e-4", 1e-4),
        ("SOLVER.BATCH_SIZE", "8", 8),
        ("SOLVER.RESUME", "True", True),
        ("SOLVER.RESUME", "true", True),
        ("SOLVER.MILESTONES", "(3, 5)", (3, 5)),
        ("SOLVER.MILESTONES", "[3]", (3,)),
        ("MODEL.MMN.FEAT2D.POOLING_COUNTS", "[3, 2]", [3, 2]),
        ("DATASETS.TRAIN", "my_train", ("my_train",)),
        ("DATASETS.TRAIN", "('a', 'b')", ("a", "b")),
        ("DATASETS.NAME", "17", "17"),
        ("OUTPUT_DIR", "runs/2024", "runs/2024"),
        ("SOLVER.BETAS", "(0, 0.9)", (0.0, 0.9)),
    ],
)
def test_option_is_read_in_the_type_of_its_key(key, text, value):
    read = lookup(load_config(None, [key, text]), key)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "key, text",
    [
        ("SOLVER.BATCH_SIZE", "4.0"),
        ("SOLVER.BATCH_SIZE", "four"),
        ("SOLVER.BATCH_SIZE", "True"),
        ("SOLVER.LR", "fast"),
        ("SOLVER.LR", "True"),
        ("SOLVER.RESUME", "1"),
        ("SOLVER.MILESTONES", "3"),
        ("SOLVER.MILESTONES", "(3, 'x')"),
        ("SOLVER.MILESTONES", "(3.5,)"),
        ("MODEL.MMN.FEAT2D.POOLING_COUNTS", "15"),
    ],
)
def test_wrong_type_names_the_key_and_the_value(key, text):
    with pytest.raises(ConfigError) as error:
        load_config(None, [key, text])
    assert key in str(error.value)
    assert text.strip("'(),")[:3] in str(error.value)


@pytest.mark.parametrize("text", ["SOLVER: {BATCH_SIZE: 4.5}", "SOLVER: {LR: fast}", "OUTPUT_DIR: 3", "SOLVER: 3"])
def test_wrong_type_in_a_file_names_file_and_key(write, text):
    with pytest.raises(ConfigError, match="config.yaml.*(SOLVER|OUTPUT_DIR)"):
        load_config(write(text))


# ---- Unknown keys and files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typo, nearest",
    [
        ("SOLVER.BATCHSIZE", "SOLVER.BATCH_SIZE"),
        ("SOLVER.LEARNING_RATE", None),
        ("SOLVER.MILESTONE", "SOLVER.MILESTONES"),
        ("SLOVER.MAX_EPOCH", "SOLVER.MAX_EPOCH"),
        ("NUM_CLIPS", "MODEL.MMN.NUM_CLIPS"),
        ("MODEL.MMN.LOSS.NUM_POSITIVE_VIDEO_PROPOSAL", "MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL"),
        ("TEST.NMS_TRESH", "TEST.NMS_THRESH"),
        ("solver.max_epoch", "SOLVER.MAX_EPOCH"),
        ("OUTPUT_DI", "OUTPUT_DIR"),
    ],
)
def test_unknown_key_is_named_with_the_nearest(typo, nearest):
    with pytest.raises(ConfigError) as error:
        load_config(None, [typo, "1"])
    assert f"unknown key {typo}" in str(error.value)
    assert nearest is None or f"did you mean {nearest}?" in str(error.value)


def test_unknown_key_in_a_file_is_named_with_the_nearest(write):
    with pytest.raises(ConfigError, match="config.yaml.*SOLVER.BATCHSIZE: did you mean SOLVER.BATCH_SIZE"):
        load_config(write("SOLVER: {BATCHSIZE: 4}"))


def test_unknown_section_is_named(write):
    with pytest.raises(ConfigError, match="unknown key MODEL.VSLNET.NUM_CLIPS"):
        load_config(write("MODEL: {VSLNET: {NUM_CLIPS: 16}}"))


def test_option_without_a_value_is_named():
    with pytest.raises(ConfigError, match="SOLVER.LR.*alone"):
        load_config(None, ["SOLVER.LR"])


def test_section_as_option_is_refused():
    with pytest.raises(ConfigError, match="SOLVER, which is a section"):
        load_config(None, ["SOLVER", "1"])


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just text"])
def test_file_that_is_no_mapping_is_refused(write, text):
    with pytest.raises(ConfigError, match="config.yaml"):
        load_config(write(text))


def test_missing_file_is_named():
    with pytest.raises(ConfigError, match="none.yaml cannot be read"):
        load_config("none.yaml")


@pytest.mark.parametrize("text", ["", "SOLVER:", "# nothing"])
def test_empty_file_or_section_is_the_defaults(write, text):
    assert load_config(write(text)) == get_cfg()


# ---- RESUME_EPOCH ----------------------------------------------------------------------------------------------------

RESUME_FILE = "SOLVER: {RESUME: False, RESUME_EPOCH: 101}"


def test_resume_on_the_command_line_sets_a_leftover_epoch_aside(write):
    assert load_config(write(RESUME_FILE), ["SOLVER.RESUME", "True"]).SOLVER.RESUME_EPOCH == 1


def test_resume_epoch_on_the_command_line_counts(write):
    options = ["SOLVER.RESUME", "True", "SOLVER.RESUME_EPOCH", "7"]
    assert load_config(write(RESUME_FILE), options).SOLVER.RESUME_EPOCH == 7


def test_resume_in_the_file_keeps_its_epoch(write):
    assert load_config(write("SOLVER: {RESUME: True, RESUME_EPOCH: 101}")).SOLVER.RESUME_EPOCH == 101


# ---- Combinations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, text, named",
    [
        ("SOLVER.BATCH_SIZE", "0", "SOLVER.BATCH_SIZE"),
        ("INPUT.NUM_PRE_CLIPS", "200", "INPUT.NUM_PRE_CLIPS"),
        ("MODEL.MMN.FEATPOOL.KERNEL_SIZE", "4", "FEATPOOL.KERNEL_SIZE"),
        ("MODEL.MMN.FEAT2D.POOLING_COUNTS", "[200]", "POOLING_COUNTS"),
        ("MODEL.MMN.PREDICTOR.KERNEL_SIZE", "4", "PREDICTOR.KERNEL_SIZE"),
        ("MODEL.MMN.LOSS.MIN_IOU", "0.7", "MIN_IOU"),
        ("MODEL.MMN.LOSS.TAU_SENT", "0", "TAU_SENT"),
        ("MODEL.MMN.LOSS.MASKED_NEGATIVES", "twos", "MASKED_NEGATIVES"),
        ("SOLVER.TEST_PERIOD", "0", "SOLVER.TEST_PERIOD"),
        ("TEST.NUM_PREDICTIONS", "4", "TEST.NUM_PREDICTIONS"),
        ("DATALOADER.NUM_WORKERS", "-1", "DATALOADER.NUM_WORKERS"),
    ],
)
def test_value_that_cannot_work_is_refused_by_name(key, text, named):
    with pytest.raises(ConfigError, match=named):
        validate(load_config(None, [key, text]))


@pytest.mark.parametrize("key", ["SOLVER.BATCH_SIZE", "TEST.BATCH_SIZE"])
def test_batch_size_that_the_processes_do_not_divide_is_refused(key):
    with pytest.raises(ConfigError, match=f"{key} is 10, which the 4 processes do not divide"):
        validate(load_config(None, [key, "10"]), world_size=4)


# ---- From a checkpoint's text ------------------------------------------------------------------------------------------


def test_text_of_a_config_gives_the_config():
    cfg = load_config(str(ROOT / "configs" / "pool_tacos_128x128_k5l8.yaml"))
    assert load_config_text(cfg.dump(), "a checkpoint") == cfg


def test_options_win_over_the_text():
    assert load_config_text("SOLVER: {LR: 0.5}", "a checkpoint", ["SOLVER.LR", "0.25"]).SOLVER.LR == 0.25


@pytest.mark.parametrize("text, named", [("SOLVER: {LT: 1}", "SOLVER.LR"), ("[", "not valid yaml"), ("3", "sections")])
def test_text_that_is_no_config_is_refused_by_the_name_of_its_source(text, named):
    with pytest.raises(ConfigError, match=f"some.pth.*{named}"):
        load_config_text(text, "some.pth")


def test_overriding_leaves_the_config_alone():
    cfg = load_config()
    changed = override_config(cfg, ["SOLVER.LR", "0.25"])
    assert (cfg.SOLVER.LR, changed.SOLVER.LR) == (0.01, 0.25)
    assert changed.is_frozen()


@pytest.mark.parametrize(
    "text, named",
    [
        ("SOLVER:\n  LR: 0.002\nMODEL: {}\nSOLVER:\n  MAX_EPOCH: 3\n", ("SOLVER", "line 1", "line 4")),
        ("SOLVER: {LR: 0.002}\nSOLVER.LR: 0.1\n", ("SOLVER.LR",)),
    ],
)
def test_section_or_key_that_stands_twice_is_refused(write, text, named):
    with pytest.raises(ConfigError) as error:
        load_config(write(text))
    assert all(name in str(error.value) for name in named)
