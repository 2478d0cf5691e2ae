"""Selections of arrays, against Python's own indexing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.structures.selection import parse_selection
from mmn.utils.errors import ConfigError

NUMBERS = st.integers(-5, 5)
OPEN = st.one_of(st.just(""), NUMBERS.map(str))
STEPS = st.sampled_from(["", ":", ":1", ":2", ":-1", ":-3"])
PARTS = st.one_of(NUMBERS.map(str), st.builds("{}:{}{}".format, OPEN, OPEN, STEPS))


@given(st.lists(PARTS, min_size=1, max_size=3), st.sampled_from([", ", ",", " , "]))
def test_selection_is_the_one_that_python_makes(parts, comma):
    array = np.arange(6 * 5 * 7).reshape(6, 5, 7)
    text = f"[{comma.join(parts)}]"
    try:
        wanted = eval(f"array{text}")  # the oracle alone may
    except IndexError:
        return
    assert np.array_equal(array[parse_selection(text)], wanted)


@pytest.mark.parametrize("text", ["", "[]", " [ ] "])
def test_empty_selection_takes_everything(text):
    assert parse_selection(text) == ()


@pytest.mark.parametrize(
    "text", ["[x]", "[1.5]", "[...]", "[1:2:3:4]", "[,]", "[None]", "[[0, 1]]", "[:, exit()]", "[1e3]", "[::0]", "[1"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError, match="the selection"):
        parse_selection(text)
