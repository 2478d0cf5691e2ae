"""Config files that build on others: `_BASE_`."""

import re

import pytest

from mmn.config import load_config
from mmn.utils.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    """Writes files by their names (a__b: b in the folder a) and returns the path of the first."""

    def write_files(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return str(tmp_path / f"{next(iter(texts)).replace('__', '/')}.yaml")

    return write_files


def test_file_wins_over_its_base_and_the_base_over_the_defaults(write):
    path = write(own="{_BASE_: base.yaml, SOLVER: {LR: 0.5}}", base="SOLVER: {LR: 0.1, BATCH_SIZE: 4}")
    solver = load_config(path).SOLVER
    assert (solver.LR, solver.BATCH_SIZE, solver.MAX_EPOCH) == (0.5, 4, 12)


def test_a_list_replaces_that_of_the_base(write):
    path = write(own="{_BASE_: base.yaml, SOLVER: {MILESTONES: [3]}}", base="SOLVER: {MILESTONES: [1, 2]}")
    assert load_config(path).SOLVER.MILESTONES == (3,)


def test_base_may_have_a_base_each_relative_to_the_file_that_names_it(write):
    path = write(
        own="_BASE_: folder/middle.yaml",
        folder__middle="{_BASE_: ../root.yaml, SOLVER: {LR: 0.1}}",
        root="SOLVER: {LR: 0.5, BATCH_SIZE: 4}",
    )
    cfg = load_config(path)
    assert (cfg.SOLVER.LR, cfg.SOLVER.BATCH_SIZE) == (0.1, 4)


def test_base_may_be_an_absolute_path(write):
    base = write(base="SOLVER: {LR: 0.5}")
    assert load_config(write(folder__own=f"_BASE_: {base}")).SOLVER.LR == 0.5


def test_options_win_over_file_and_base(write):
    path = write(own="{_BASE_: base.yaml, SOLVER: {LR: 0.5}}", base="SOLVER: {BATCH_SIZE: 4}")
    cfg = load_config(path, ["SOLVER.LR", "0.25", "SOLVER.BATCH_SIZE", "8"])
    assert (cfg.SOLVER.LR, cfg.SOLVER.BATCH_SIZE) == (0.25, 8)


@pytest.mark.parametrize("own", ["", "MODEL: {TAN: {NUM_CLIPS: 8}}", "MODEL: {MMN: {NUM_CLIPS: 8}}"])
def test_released_stvg_file_may_be_a_base(write, own):
    """Its section has another name, and its program clips gradients at 10 where the file says nothing."""
    path = write(own=f"_BASE_: released.yaml\n{own}", released="MODEL: {ARCHITECTURE: TAN, TAN: {NUM_CLIPS: 16}}")
    cfg = load_config(path)
    assert ("STVG", 8 if own else 16) == (cfg.MODEL.ARCHITECTURE, cfg.MODEL.MMN.NUM_CLIPS)
    assert cfg.SOLVER.CLIP_GRAD_NORM == 10


def test_released_stvg_file_may_have_a_base(write):
    path = write(own="{_BASE_: base.yaml, MODEL: {ARCHITECTURE: TAN}}", base="SOLVER: {CLIP_GRAD_NORM: 3.0}")
    assert load_config(path).SOLVER.CLIP_GRAD_NORM == 3


# ---- Refused -----------------------------------------------------------------------------------------------------------


def refusal(path):
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_missing_base_is_named_with_the_file_that_names_it(write):
    text = refusal(write(own="_BASE_: nowhere.yaml"))
    assert "nowhere.yaml cannot be read (No such file or directory): correct _BASE_ in " in text
    assert text.endswith("own.yaml")


def test_circle_is_shown(write):
    text = refusal(write(first="_BASE_: second.yaml", second="_BASE_: first.yaml"))
    assert re.search(r"first.yaml builds on itself \(\S+first.yaml -> \S+second.yaml -> \S+first.yaml\)", text)


@pytest.mark.parametrize("base", ["3", "[a.yaml]", "", "''", "{a: 1}"])
def test_base_that_is_no_path_is_refused(write, base):
    assert "it must be the path of a config file" in refusal(write(own=f"_BASE_: {base}"))


def test_mistake_in_a_base_names_the_base(write):
    assert "base.yaml has an unknown key SOLVER.LT" in refusal(write(own="_BASE_: base.yaml", base="SOLVER: {LT: 1}"))


def test_base_inside_a_section_is_an_unknown_key(write):
    assert "unknown key SOLVER._BASE_" in refusal(write(own="SOLVER: {_BASE_: base.yaml}", base=""))
