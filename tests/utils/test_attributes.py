"""Numbers in attributes: one rule for what is one."""

import h5py
import numpy as np
import pytest

from mmn.utils.attributes import number_attribute
from mmn.utils.errors import DataError


@pytest.fixture
def attributes(tmp_path):
    with h5py.File(tmp_path / "file.hdf5", "w") as file:
        yield file.attrs


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i1", "i8", "u2"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_number_of_any_type_is_a_python_number(attributes, dtype, shape):
    attributes["x"] = np.full(shape, 3, dtype)
    number = number_attribute(attributes, "x", "the file")
    assert number == 3
    assert type(number) is (int if "i" in dtype or "u" in dtype else float)


@pytest.mark.parametrize(
    "value", ["3", b"3", True, np.array([True]), [3, 4], [[3]], [], np.nan, np.inf, 3j, h5py.Empty("f4")], ids=repr
)
def test_what_is_no_number_is_refused_with_name_and_place(attributes, value):
    attributes["x"] = value
    with pytest.raises(DataError, match="the attribute x of the file is .*: it must be one finite number"):
        number_attribute(attributes, "x", "the file")


def test_absent_attribute_is_none(attributes):
    assert number_attribute(attributes, "x", "the file") is None
