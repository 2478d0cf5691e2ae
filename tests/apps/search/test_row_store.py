"""Conditions in the words of the databases that keep a row per moment."""

import math

import numpy as np
import pytest

from mmn.apps.search.lance_tables import SQL
from mmn.apps.search.milvus_collections import WORDS as MILVUS
from mmn.apps.search.row_store import Condition

THIRD = repr(float(np.float32(1 / 3)))  # as the lengths in the rows are rounded


@pytest.mark.parametrize(
    "entries, bounds, sql, milvus",
    [
        (None, (0.0, math.inf), "", ""),
        ([7], (0.0, math.inf), "entry IN (7)", "entry in [7]"),
        (None, (1 / 3, math.inf), f"length >= CAST({THIRD} AS FLOAT)", f"length >= {THIRD}"),
        (
            [3, 1],
            (2.0, 2.5),
            "entry IN (3, 1) AND length >= CAST(2.0 AS FLOAT) AND length <= CAST(2.5 AS FLOAT)",
            "entry in [3, 1] and length >= 2.0 and length <= 2.5",
        ),
    ],
    ids=["all", "entries", "length", "both"],
)
def test_condition_in_words(entries, bounds, sql, milvus):
    condition = Condition(entries, *bounds, num_rows=10)
    assert (SQL.of(condition), MILVUS.of(condition)) == (sql, milvus)
