"""Tables as markdown."""

import doctest

from mmn.utils import markdown


def test_examples_hold():
    assert doctest.testmod(markdown).failed == 0
