"""What keeps an HDF5 file from being read is told apart, for files as other programs leave them."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from mmn.utils.errors import DataError
from mmn.utils.hdf5 import open_hdf5, reading

HOLD = """
import os, sys, h5py
file = h5py.File(sys.argv[1], "r+", libver=sys.argv[2])
if sys.argv[3] == "swmr":
    file.swmr_mode = True
print("open", flush=True)
sys.stdin.read()
os._exit(0)  # killed, so to say: the file is not closed
"""


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "features.hdf5")
    write(path)
    return path


def write(path, **options):
    with h5py.File(path, "w", **options) as file:
        file["video"] = np.ones((5, 3), np.float32)


def refusal(path):
    with pytest.raises(DataError) as raised:
        open_hdf5(path, "the feature file", missing="look elsewhere", damaged="fetch it again")
    sentence = str(raised.value)
    assert sentence.startswith(f"the feature file {path} ")
    assert "\n" not in sentence
    assert "delete" not in sentence
    return sentence


@pytest.mark.parametrize(
    "library, mode, locking",
    [("earliest", "", "TRUE"), ("latest", "", "TRUE"), ("latest", "", "FALSE"), ("latest", "swmr", "TRUE")],
)
def test_file_that_another_program_writes_is_healthy(path, library, mode, locking, monkeypatch):
    write(path, libver=library)
    environment = {**os.environ, "HDF5_USE_FILE_LOCKING": locking}
    command = [sys.executable, "-c", HOLD, path, library, mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as writer:
        writer.stdout.readline()
        sentence = refusal(path)
        writer.stdin.close()
    assert "open for writing in another program" in sentence
    assert "wait for it" in sentence
    assert "damaged" not in sentence and "fetch" not in sentence


def test_mark_that_a_killed_writer_left_is_no_damage(path):
    write(path, libver="latest")
    command = [sys.executable, "-c", HOLD, path, "latest", ""]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    sentence = refusal(path)
    assert "h5clear" in sentence
    assert "fetch" not in sentence


@pytest.mark.parametrize("number", [37, 38])  # no locks available, function not implemented
def test_file_system_without_locks_is_no_damage(path, number, monkeypatch):
    def fail(*args):
        raise OSError(number, f"Unable to open file (unable to lock file, errno = {number}, error message = 'x')")

    monkeypatch.setattr(h5py, "File", fail)
    assert "HDF5_USE_FILE_LOCKING=FALSE" in refusal(path)


@pytest.mark.parametrize("kept", [100, 600, -1])
def test_file_that_is_cut_off_says_how_much_is_there(path, kept):
    size = os.path.getsize(path)
    kept %= size
    os.truncate(path, kept)
    assert f"is cut off, with {kept} of its {size} bytes" in refusal(path)


def test_file_with_a_user_block_that_is_cut_off_is_still_an_hdf5_file(path):
    write(path, userblock_size=1024)
    os.truncate(path, 1500)
    assert "is no HDF5 file" not in refusal(path)


def test_damage_in_the_middle_is_named(path):
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(b"\xff" * 88)
    assert "cannot be opened" in refusal(path)


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"", "but empty"),
        (b"PK\x03\x04" + bytes(600), "a zip archive"),
        (b"<!DOCTYPE html><html>", "a page of HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"words", "is no HDF5 file"),
    ],
)
def test_foreign_file_is_named(tmp_path, content, kind):
    path = tmp_path / "features.hdf5"
    path.write_bytes(content)
    assert kind in refusal(str(path))


def test_folder_pipe_and_nothing_are_told_apart(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert "is a folder" in refusal(str(tmp_path))
    assert "is a pipe" in refusal(str(tmp_path / "pipe"))
    for name in ("none", "broken", "pipe/below"):
        assert "does not exist: look elsewhere" in refusal(str(tmp_path / name))


def test_file_that_may_not_be_read_says_so(path, monkeypatch):
    def fail(*args):
        raise PermissionError(13, "Unable to open file (unable to open file: errno = 13)")

    monkeypatch.setattr(h5py, "File", fail)
    assert "permission denied" in refusal(path)


def test_failed_read_of_an_open_file_is_one_sentence():
    expected = r"^the video cannot be read \(bad heap free list\): .*make it again$"
    with pytest.raises(DataError, match=expected), reading("the video", "make it again"):
        raise RuntimeError("bad\n  heap free list")
