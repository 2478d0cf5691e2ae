"""Thresholds as users give them."""

import math

import pytest

from mmn.structures.iou_thresholds import checked_thresholds
from mmn.utils.errors import ConfigError


@pytest.mark.parametrize("thresholds", [(0.5, 0.7, 0.5), (50,), (math.nan,), (0.0,), (math.inf,), ()])
def test_thresholds_that_make_no_table_are_refused(thresholds):
    with pytest.raises(ConfigError, match="--thresholds"):
        checked_thresholds(thresholds)


def test_thresholds_keep_their_order():
    assert checked_thresholds([0.7, 0.5, 1]) == (0.7, 0.5, 1)
