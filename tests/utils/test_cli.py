"""How a tool ends."""

import pytest
from processes import launch

from mmn.utils.cli import run_tool
from mmn.utils.errors import ConfigError, DataError, UserError, nearest


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


def test_a_mistake_found_by_a_loader_worker_is_the_same_sentence(capsys, monkeypatch):
    monkeypatch.delenv("MMN_DEBUG", raising=False)
    text = (
        "Caught DataError in DataLoader worker process 0.\nTraceback ...\nmmn.utils.errors.DataError: no rows: add some"
    )
    with pytest.raises(SystemExit):
        run_tool(fail(DataError(text)))
    assert capsys.readouterr().err == "error: no rows: add some\n"


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
