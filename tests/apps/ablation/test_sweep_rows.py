"""Rows from --vary and from files, and the names of their folders."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SYNTHETIC_CONFIG

from mmn.apps.ablation.sweep_rows import describe_changes, folder_name, grid_rows, read_rows, run_config, split_values
from mmn.utils.errors import ConfigError

MARGIN, TAU = "MODEL.MMN.LOSS.MARGIN", "MODEL.MMN.LOSS.TAU_VIDEO"


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        path = tmp_path / "rows.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_file


def test_grid_has_all_combinations_and_begins_with_the_first_values():
    rows = grid_rows([f"{MARGIN}=0.4,0", f"{TAU}=0.1,0.2"])
    assert [tuple(value for _, value in row.changes) for row in rows] == [
        ("0.4", "0.1"),
        ("0.4", "0.2"),
        ("0", "0.1"),
        ("0", "0.2"),
    ]
    assert rows[1].name == "LOSS.MARGIN=0.4, LOSS.TAU_VIDEO=0.2"


@given(st.lists(st.sampled_from(["1", "[1, 2]", "('a',)", '"x,y"', "{1: (2, 3)}", "on"]), min_size=1))
def test_splitting_undoes_joining(values):
    assert split_values(",".join(values)) == values


@pytest.mark.parametrize(
    "texts",
    [
        ["MARGIN"],
        ["=1"],
        ["A="],
        ["A=1,,2"],
        ["A=1,1"],
        ["A=1", "A=2"],
        ["SOLVER.SEED=1,2"],
        ["OUTPUT_DIR=a,b"],
        ["DATASETS.TEST=a,b"],
    ],
)
def test_variation_that_cannot_be_run_is_refused(texts):
    with pytest.raises(ConfigError):
        grid_rows(texts)


def test_rows_of_a_file_keep_its_order_and_its_spelling(write):
    rows = read_rows(write(f"z all: {{}}\na margin: {{{MARGIN}: 0.0}}\nlist:\n  A.B: [1, 'x']\n  SOLVER.AMP: off\n"))
    assert [row.name for row in rows] == ["z all", "a margin", "list"]
    assert rows[1].changes == ((MARGIN, "0.0"),)
    assert rows[2].changes == (("A.B", "[1, 'x']"), ("SOLVER.AMP", "off"))


def test_released_rows_can_be_read():
    rows = read_rows("configs/rows/paper.yaml")
    assert rows[0].changes == ()
    for row in rows:
        run_config(SYNTHETIC_CONFIG, [], row.changes, {}, row.name)


@pytest.mark.parametrize(
    "text, named",
    [
        ("", "must hold rows"),
        ("- a", "must hold rows"),
        ("a: 1", "row 'a'"),
        ("a: {b: {c: 1}}", "row 'a'"),
        ("a: {A: 1}\na: {A: 2}", "'a' of line 2"),
        ("a: {A: 1, A: 2}", "'A' of line 1"),
        ("a: {A: 1}\nb: {A: 1}", "set of changes"),
        ("a: {SOLVER.SEED: 1}", "SOLVER.SEED"),
        ("a: {", "not valid yaml"),
    ],
)
def test_file_of_another_form_is_refused(write, text, named):
    with pytest.raises(ConfigError, match=named):
        read_rows(write(text))


@given(st.text(min_size=1))
def test_a_file_of_any_text_is_rows_or_one_sentence(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("rows") / "rows.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert read_rows(str(path))
    except ConfigError as error:
        assert str(path) in str(error)


def test_missing_file_is_named():
    with pytest.raises(ConfigError, match="none.yaml cannot be read"):
        read_rows("none.yaml")


def test_changes_of_the_evaluation_share_a_training():
    row = grid_rows(["TEST.NMS_THRESH=0.4,0.5", f"{MARGIN}=0.1"])[0]
    assert row.training == ((MARGIN, "0.1"),)
    assert row.predictions == "predictions_TEST.NMS_THRESH=0.4.jsonl"


changes = st.lists(
    st.tuples(st.sampled_from(["A.B", "MODEL.MMN.X", "C"]), st.text(min_size=1)), unique_by=lambda c: c[0]
)


@given(changes, changes)
def test_folder_name_is_safe_and_tells_changes_apart(one, other):
    name = folder_name(one)
    assert re.fullmatch(r"[A-Za-z0-9._=,+-]{1,100}", name)
    assert folder_name(one[::-1]) == name
    if sorted(one) != sorted(other) and describe_changes(sorted(one)) != describe_changes(sorted(other)):
        assert folder_name(other) != name


def test_row_that_cannot_work_is_named():
    with pytest.raises(ConfigError, match="row 'narrow'.*MARGON.*did you mean"):
        run_config(SYNTHETIC_CONFIG, [], [("MODEL.MMN.LOSS.MARGON", "1")], {}, "narrow")


def test_changes_win_over_the_options_of_all_runs():
    cfg, pairs = run_config(SYNTHETIC_CONFIG, [MARGIN, "0.1"], [(MARGIN, "0.3")], {"SOLVER.SEED": 7}, "row")
    assert cfg.MODEL.MMN.LOSS.MARGIN == 0.3
    assert pairs[-2:] == ["SOLVER.SEED", "7"]
