"""Pickles of arrays are read, and nothing that they name is ever run."""

import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.convert.array_pickle import load_array_pickle
from mmn.utils.errors import DataError

ran = []


def must_not_run(*args):
    ran.append(args)


class Reducing:
    """Pickles as a call of a function, which unpickling would run."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.fixture
def load(tmp_path):
    def load(content, protocol=4):
        path = tmp_path / "file.pkl"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        return load_array_pickle(str(path))

    return load


# ---- Read ------------------------------------------------------------------------------------------------------------

ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "float64 in columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "no dimension": np.array(3.5),
    "no entry": np.zeros((0, 6)),
    "booleans": np.array([True, False]),
    "tensor": torch.arange(6.0).view(2, 3),
    "transposed tensor": torch.arange(6.0).view(2, 3).T,
    "part of a tensor": torch.arange(6.0)[2:5],
    "half tensor": torch.arange(3).half(),
    "integer tensor": torch.arange(3),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ARRAYS)
def test_array_is_read(load, kind, protocol):
    content = load({"video": [[ARRAYS[kind], 0.5]]}, protocol)
    found, wanted = np.asarray(content["video"][0][0]), np.asarray(ARRAYS[kind])
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_numbers_are_read(load, protocol):
    content = {0: [[np.float32(0.5), np.int64(3)], ("text", b"bytes", None, True)], "tupel": (1, 2.5)}
    assert load(content, protocol) == content


def test_names_of_older_numpy_are_known(load):
    content = pickle.dumps(np.arange(3.0), 2)
    assert b"numpy._core.multiarray" in content
    older = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert np.asarray(load(older)).tolist() == [0, 1, 2]


# ---- Refused ---------------------------------------------------------------------------------------------------------

HOSTILE = {
    "a function": (os.system, "system"),
    "a call": (Reducing(must_not_run, 1), "must_not_run"),
    "a call within an array of objects": (np.array([Reducing(must_not_run)], dtype=object), "no kind of number"),
    "eval": (Reducing(eval, "1"), "builtins.eval"),
    "getattr": (Reducing(getattr, "a", "upper"), "builtins.getattr"),
    "an import": (Reducing(__import__, "os"), "builtins.__import__"),
    "a class": (Reducing, "Reducing"),
    "torch's loader of whole files": (Reducing(torch.load, "file"), "torch.serialization.load"),
    "a storage by name": (torch.FloatStorage, "FloatStorage"),
    "a set": (Reducing(set, [1]), "builtins.set"),
    "bytes of a length": (Reducing(bytes, 10), "positional argument"),
    "an array of objects": (np.array([{}], dtype=object), "no kind of number"),
    "an array of texts": (np.array(["a"]), "no kind of number"),
    "an array of structures": (np.zeros(2, dtype=[("a", "f4")]), "no kind of number"),
    "an array of dates": (np.array(["2024-01-01"], dtype="M8[D]"), "no kind of number"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_array_is_refused_by_name(load, kind):
    content, named = HOSTILE[kind]
    with pytest.raises(DataError) as error:
        load(content)
    assert "file.pkl" in str(error.value)
    assert named in str(error.value)
    assert not ran


def nested_storage(tensor_bytes: bytes) -> bytes:
    """A pickle whose storage is these bytes, which torch itself would load without any restriction."""
    return pickle.dumps(Reducing(torch.storage._load_from_bytes, tensor_bytes), 4)


def test_storage_with_code_inside_is_refused_by_name(load):
    evil = pickle.dumps(Reducing(must_not_run), 2)
    with pytest.raises(DataError, match="must_not_run"):
        load(nested_storage(evil))
    assert not ran


def test_storage_of_torch_s_newer_format_is_a_sentence(load, tmp_path):
    torch.save(torch.arange(3.0), tmp_path / "tensor.pt")
    with pytest.raises(DataError, match="damaged or holds more than arrays"):
        load(nested_storage((tmp_path / "tensor.pt").read_bytes()))


@pytest.mark.parametrize("state", [{"function": 1}, (None, {"function": 1}), [1]], ids=["fields", "slots", "state"])
def test_pickle_cannot_change_the_functions_it_is_given(load, state):
    # GLOBAL, the state, then BUILD, which sets attributes of what is below it on the stack.
    content = b"\x80\x02cnumpy\ndtype\n" + pickle.dumps(state, 2)[2:-1] + b"b."
    with pytest.raises(DataError):
        load(content)
    assert np.asarray(load(np.arange(3.0))).tolist() == [0, 1, 2]


def test_tensor_beyond_its_storage_is_refused(load):
    storage = pickle.dumps(torch.arange(4.0), 2)
    for size in (b"K\x05", b"K\xff"):
        content = storage.replace(b"K\x00K\x04\x85", b"K\x00" + size + b"\x85")
        assert content != storage
        with pytest.raises(DataError, match="damaged"):
            load(content)


def test_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_array_pickle(str(tmp_path / "nothing.pkl"))


GOOD = [
    pickle.dumps({0: [[np.arange(12.0).reshape(2, 6), 0.5]], "a": torch.arange(3.0)}, protocol)
    for protocol in (2, 4, 5)
]


@given(st.sampled_from(GOOD), st.data())
def test_damaged_pickles_are_read_or_refused_in_a_sentence(tmp_path_factory, good, data):
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            # Not the opcodes of large memo places and frames, by which Python itself would take gigabytes.
            content[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte not in b"rj\x95"))
        else:
            del content[place:]
            content += b"."
    path = tmp_path_factory.mktemp("pickles") / "file.pkl"
    path.write_bytes(content)
    try:
        load_array_pickle(str(path))
    except DataError as error:
        assert str(path) in str(error)
    assert not ran
