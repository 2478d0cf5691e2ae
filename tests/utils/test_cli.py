"""How a tool ends."""

import weakref

import pytest
from processes import launch, run_python

from mmn.utils.cli import run_tool
from mmn.utils.errors import ConfigError, DataError, UserError, closest_match, nearest


class Loader:
    """Stands for a data loader, whose workers end with it."""


def fail(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize("kind", [UserError, ConfigError, DataError])
def test_a_users_mistake_is_one_sentence_and_exit_code_2(kind, capsys, monkeypatch):
    monkeypatch.delenv("MMN_DEBUG", raising=False)
    with pytest.raises(SystemExit) as exit_info:
        run_tool(fail(kind("the file is not there: make it")))
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: the file is not there: make it\n"


def test_debugging_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("MMN_DEBUG", "1")
    with pytest.raises(DataError):
        run_tool(fail(DataError("text")))


def test_a_mistake_is_told_without_loading_torch():
    code = """
import sys
from mmn.utils.cli import run_tool
from mmn.utils.errors import UserError
def main():
    raise UserError(str(sorted({"torch", "transformers"} & sys.modules.keys())))
run_tool(main)
"""
    done = run_python("-c", code)
    assert (done.returncode, done.stderr) == (2, "error: []\n")


def test_what_a_mistake_met_is_let_go_of_before_the_exit(monkeypatch):
    monkeypatch.delenv("MMN_DEBUG", raising=False)
    held = weakref.WeakSet()

    def read():
        loader = Loader()
        held.add(loader)
        raise ValueError("damaged")

    def main():
        try:
            read()
        except ValueError as error:
            raise DataError("the file is bad: mend it") from error

    with pytest.raises(SystemExit) as exit_info:
        run_tool(main)
    assert not held, exit_info


def test_other_errors_are_not_caught():
    with pytest.raises(ZeroDivisionError):
        run_tool(fail(ZeroDivisionError()))


@pytest.mark.parametrize("tool", ["train_net.py", "test_net.py"])
def test_tool_with_a_typo_in_a_key_ends_with_a_sentence(tool):
    done = launch(1, tool, "--config-file", "configs/synthetic.yaml", "SOLVER.MAX_EPOCHS", "3")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "error: the command line has an unknown key SOLVER.MAX_EPOCHS: did you mean SOLVER.MAX_EPOCH?"
    ]


def test_nearest_name():
    assert nearest("NUM_CLIP", ["NUM_CLIPS", "LOSS"]) == ": did you mean NUM_CLIPS?"
    assert nearest("zzz", ["b", "a"]) == ": the choices are a, b"


@pytest.mark.parametrize(("name", "match"), [("lsos", "LOSS"), ("NUM_CLIP", "NUM_CLIPS"), ("zzz", None)])
def test_closest_match_is_a_known_name_or_none(name, match):
    assert closest_match(name, ["NUM_CLIPS", "LOSS"]) == match
