"""Files that are going to be read are read ahead by the system, as far as memory goes."""

import os

import pytest

from mmn.utils import file_cache
from mmn.utils.file_cache import PIECE, read_ahead

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system cannot be asked to read ahead")


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Bytes of each file below tmp_path that were asked for, by its place."""
    spans = {}

    def advise(descriptor, start, length, advice):
        assert advice == os.POSIX_FADV_WILLNEED and length <= PIECE
        spans.setdefault(os.fstat(descriptor).st_ino, set()).update(range(start, start + length, 2**16))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, size in {"a/one": 3 * PIECE + 5, "a/b/two": 100, "empty": 0}.items():
        (tmp_path / name).write_bytes(bytes(size))
    return spans


def test_every_byte_of_every_file_is_asked_for(asked, tmp_path):
    assert read_ahead(tmp_path)
    for name in ("a/one", "a/b/two"):
        status = os.stat(tmp_path / name)
        assert set(range(0, status.st_size, 2**16)) <= asked[status.st_ino]


def test_files_that_memory_has_no_room_for_are_left_where_they_are(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(file_cache, "available_memory", lambda: 6 * PIECE)
    assert not read_ahead(tmp_path) and not asked


def test_files_that_are_deleted_meanwhile_are_passed_over(asked, tmp_path, monkeypatch):
    advise = os.posix_fadvise

    def deleting(*args):
        advise(*args)
        for name in ("a/one", "a/b/two"):
            (tmp_path / name).unlink(missing_ok=True)

    monkeypatch.setattr(os, "posix_fadvise", deleting)
    assert read_ahead(tmp_path)
    assert len(asked) == 1
