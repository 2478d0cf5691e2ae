"""Files written whole or not at all."""

import os
import stat

import pytest

from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path, make_folder


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def write(path, text):
    with atomic_path(str(path)) as temporary, open(temporary, "w") as file:
        file.write(text)


def test_the_file_is_replaced_at_the_end(path):
    write(path, "new")
    assert path.read_text() == "new"


def test_the_old_file_is_there_until_the_end(path):
    with atomic_path(str(path)) as temporary:
        with open(temporary, "w") as file:
            file.write("half of the n")
        assert path.read_text() == "old"


def test_an_error_keeps_the_old_file_and_leaves_no_other(path):
    with pytest.raises(ZeroDivisionError), atomic_path(str(path)) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_full_disk_is_a_sentence(path):
    with pytest.raises(UserError, match="file.txt cannot be written .*untouched"), atomic_path(str(path)):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["file.txt"]


def test_missing_folders_are_made(tmp_path):
    write(tmp_path / "a" / "b" / "file.txt", "new")
    assert (tmp_path / "a" / "b" / "file.txt").read_text() == "new"


def test_a_place_that_is_no_folder_is_a_sentence(path):
    with pytest.raises(UserError, match="cannot be written"):
        write(path / "below a file.txt", "new")


@pytest.mark.parametrize("place", ["a file.txt", "a file.txt/below"])
def test_folder_where_a_file_stands_is_a_sentence(tmp_path, place):
    (tmp_path / "a file.txt").write_text("mine")
    with pytest.raises(UserError, match="--out .* must be a folder, but a file stands there"):
        make_folder(str(tmp_path / place), "--out")
    assert (tmp_path / "a file.txt").read_text() == "mine"


def test_others_may_read_the_file_as_the_umask_says(path):
    mask = os.umask(0o027)
    try:
        write(path, "new")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
