"""2D-TAN's settings, and the files of its two programs by their own names (SPEC section 10)."""

import json

import pytest
import yaml
from tiny import ROOT

from golden_fixture import GOLDEN, TAN_FOLDERS, TanFixture
from mmn.config import load_config, validate
from mmn.config.load import config_values
from mmn.engine.tasks import find_task
from mmn.utils.errors import ConfigError

OFFICIAL = GOLDEN / "tan" / "pool" / "official.yaml"
THIRD_PARTY = GOLDEN / "tan" / "thirdparty" / "released_style.yaml"
SETTINGS = sorted(path.stem for path in (ROOT / "configs").glob("tan2d_*.yaml"))
TRAINING = (
    "OPTIMIZER",
    "SCHEDULE",
    "CLIP_GRAD_NORM",
    "TEST_ITERS",
    "SEED",
    "LR",
    "MAX_EPOCH",
    "MILESTONES",
    "BATCH_SIZE",
)


def lookup(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "config.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


def changed(path, key, value):
    """The content of a yaml file with another value of a key; None takes the key out."""
    content = yaml.safe_load(path.read_text())
    *sections, name = key.split(".")
    node = content
    for section in sections:
        node = node.setdefault(section, {})
    if value is None:
        del node[name]
    else:
        node[name] = value
    return content


# ---- Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", json.loads((GOLDEN / "tan" / "state_dict_shapes.json").read_text()))
def test_weights_of_every_setting_have_the_recorded_names_and_shapes(setting):
    import torch

    from mmn.modeling.tan2d_weights import official_names

    (dataset, kind), recorded = sorted(setting.split("_"), key=len)[::-1], recorded_shapes(setting)
    names = [name for name in SETTINGS if set(setting.split("_")) <= set(name.split("_"))]
    assert len(names) == 1, (dataset, kind)
    cfg = load_config(str(ROOT / "configs" / f"{names[0]}.yaml"))
    with torch.device("meta"):
        state = find_task_without_words(cfg).build_model(cfg, False).state_dict()
    wanted = official_names(recorded, setting, cfg.MODEL.TAN2D.MASK_FUSION)
    assert [(key, list(value.shape)) for key, value in state.items()] == list(wanted.items())


def recorded_shapes(setting):
    return json.loads((GOLDEN / "tan" / "state_dict_shapes.json").read_text())[setting]


def find_task_without_words(cfg):
    from mmn.engine.tasks import TASKS

    return TASKS[cfg.MODEL.ARCHITECTURE]


@pytest.mark.parametrize("name", [name for name in SETTINGS if "thirdparty" in name])
def test_third_party_setting_says_on_top_what_it_was_trained_on(name):
    first = (ROOT / "configs" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# TRAINED ON THE VALIDATION SPLIT TOO")
    assert len(load_config(name).DATASETS.TRAIN) == 2


def test_there_are_the_eight_settings():
    assert len(SETTINGS) == 8


# ---- Files of the two programs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", TAN_FOLDERS)
def test_file_of_a_program_says_what_its_fixture_does(folder):
    fixture = TanFixture(f"{folder}-auto")
    path = next(fixture.folder.glob("*.yaml"))
    loaded = load_config(str(path), ["MODEL.TAN2D.TEXT.GLOVE", str(fixture.folder / "glove.txt")])
    validate(loaded)
    find_task(loaded)
    wanted, training = config_values(fixture.cfg), fixture.training_config()
    measured = config_values(loaded)
    of_model = [key for key in wanted if key.startswith(("MODEL.MMN.", "MODEL.TAN2D.", "INPUT."))]
    is_charades = fixture.meta["dataset"] == "Charades"
    assert {key: measured[key] for key in of_model if key != "MODEL.TAN2D.TEXT.CUT_PERIOD"} == {
        key: wanted[key] for key in of_model if key != "MODEL.TAN2D.TEXT.CUT_PERIOD"
    }
    assert is_charades == loaded.MODEL.TAN2D.TEXT.CUT_PERIOD
    assert loaded.MODEL.ARCHITECTURE == "TAN2D" and fixture.meta["config"]["NMS"] == loaded.TEST.NMS_THRESH
    for key in ("OPTIMIZER", "SCHEDULE", "CLIP_GRAD_NORM", "TEST_ITERS", "LR", "MAX_EPOCH", "BATCH_SIZE"):
        assert loaded.SOLVER[key] == training.SOLVER[key], key
    if training.SOLVER.SCHEDULE == "plateau":
        assert (loaded.SOLVER.PLATEAU_FACTOR, loaded.SOLVER.PLATEAU_PATIENCE) == (0.8, 0)
        assert loaded.SOLVER.SEED == 0
    else:
        assert loaded.SOLVER.MILESTONES == training.SOLVER.MILESTONES


def test_plateau_of_a_file_that_does_not_name_it_is_the_programs_own(write):
    content = changed(OFFICIAL, "TRAIN.PATIENCE", None)
    del content["TRAIN"]["FACTOR"]
    solver = load_config(write(content)).SOLVER
    assert (solver.PLATEAU_FACTOR, solver.PLATEAU_PATIENCE) == (0.8, 20)


def test_file_without_validation_says_so(write):
    assert load_config(write(changed(OFFICIAL, "DATASET.NO_VAL", True))).DATASETS.VAL == ()


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (OFFICIAL, "LOSS.PARAMS.BIAS", 0.1),
        (OFFICIAL, "TAN.FUSION_MODULE.PARAMS.LSTM.BIDIRECTIONAL", True),
        (OFFICIAL, "DATASET.NORMALIZE", False),
        (OFFICIAL, "TAN.FRAME_MODULE.PARAMS.STRIDE", 1),
        (OFFICIAL, "TAN.MAP_MODULE.PARAMS.STRIDES", [1, 2, 1]),
        (OFFICIAL, "TAN.MAP_MODULE.PARAMS.DILATIONS", [1, 1, 2]),
        (OFFICIAL, "TAN.MAP_MODULE.PARAMS.PADDINGS", [2, 2, 2]),
        (OFFICIAL, "TAN.MAP_MODULE.PARAMS.KERNEL_SIZES", [5, 3, 5]),
        (OFFICIAL, "TAN.MAP_MODULE.PARAMS.HIDDEN_SIZES", [10, 8, 10]),
        (OFFICIAL, "TAN.PRED_INPUT_SIZE", 9),
        (OFFICIAL, "TAN.PROP_MODULE.NAME", "DenseMaxPool"),
        (OFFICIAL, "TAN.PROP_MODULE.NAME", ["SparsePropConv"]),
        (OFFICIAL, "TAN.FUSION_MODULE.NAME", "OtherFusion"),
        (OFFICIAL, "TRAIN.WEIGHT_DECAY", 0.1),
        (OFFICIAL, "TRAIN.OPTIMIZER", "SGD"),
        (OFFICIAL, "DATASET.NAME", "DiDeMo"),
        (THIRD_PARTY, "MODEL.TAN.INTEGRATOR.LSTM.BIDIRECTIONAL", True),
        (THIRD_PARTY, "MODEL.TAN.INTEGRATOR.FUSION", "concat"),
    ],
)
def test_what_cannot_be_said_here_is_named(write, path, key, value):
    name = key.replace("MODEL.TAN.INTEGRATOR.FUSION", "MODEL.MMN.INTEGRATOR.FUSION")
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        load_config(write(changed(path, key, value)))


def test_file_that_lacks_a_module_is_told_which(write):
    with pytest.raises(ConfigError, match="lacks TAN.MAP_MODULE.PARAMS.KERNEL_SIZES"):
        load_config(write(changed(OFFICIAL, "TAN.MAP_MODULE.PARAMS.KERNEL_SIZES", None)))


def test_our_keys_go_over_an_official_file_that_they_build_on(tmp_path):
    (tmp_path / "official.yaml").write_text(OFFICIAL.read_text())
    (tmp_path / "ours.yaml").write_text("_BASE_: official.yaml\nSOLVER: {SEED: 7, CLIP_GRAD_NORM: 1.0}")
    cfg = load_config(str(tmp_path / "ours.yaml"))
    assert (cfg.SOLVER.SEED, cfg.SOLVER.CLIP_GRAD_NORM, cfg.MODEL.ARCHITECTURE) == (7, 1.0, "TAN2D")


# ---- Values that do not go together ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["SOLVER.SCHEDULE", "plateau"], "SOLVER.SCHEDULE is plateau, .* not MMN"),
        (["SOLVER.OPTIMIZER", "adam", "SOLVER.BETAS", "(0.5, 0.9)"], "SOLVER.BETAS is .* adamw alone"),
        (["SOLVER.OPTIMIZER", "sgd"], "SOLVER.OPTIMIZER is 'sgd'"),
        (["SOLVER.PLATEAU_FACTOR", "1.0"], "SOLVER.PLATEAU_FACTOR is 1.0"),
        (["SOLVER.TEST_ITERS", "-2"], "SOLVER.TEST_ITERS is -2"),
        (["TEST.THRESHOLDS", "(0.5, 50)"], "TEST.THRESHOLDS has 50"),
    ],
)
def test_refused(options, reason):
    with pytest.raises(ConfigError, match=reason):
        validate(load_config(None, options))


def test_pooling_that_is_not_2d_tans_is_refused():
    cfg = load_config("tan2d_pool_charades", ["MODEL.MMN.FEATPOOL.KERNEL_SIZE", "8"])
    with pytest.raises(ConfigError, match="KERNEL_SIZE is 8, .*set it to 16"):
        find_task(cfg)


def test_missing_word_vectors_are_named_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="MODEL.TAN2D.TEXT.GLOVE is empty"):
        find_task(load_config("tan2d_pool_charades"))
