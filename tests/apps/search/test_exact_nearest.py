"""The blocked search against sorting all products."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.search import exact_nearest as module
from mmn.apps.search.exact_nearest import EMPTY, GROUP, Run, TopK, nearest_vectors


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 rows of width 8, two of them at a time, so that little data makes many."""
    monkeypatch.setattr(module, "BLOCK_BYTES", 64 * 8 * 4)
    monkeypatch.setattr(module, "BLOCKS", 2)
    monkeypatch.setattr(module, "FEW", GROUP)


def whole_numbers(*shape, seed=0):
    """Vectors whose products are exact, and often equal."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32))


def sort_all(queries, vectors, k):
    """[Q, k] places and products, best first; of equal ones the first place."""
    scores = queries.double() @ vectors.double().T
    places = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :k]
    return places, np.take_along_axis(scores.numpy(), places, 1)


@pytest.mark.parametrize("k", [1, 10, 64, 700])
@pytest.mark.parametrize("num_queries", [1, 5, 600])
def test_nearest_are_those_of_sorting_all_products(threads, small_blocks, k, num_queries):
    queries, vectors = whole_numbers(num_queries, 8), whole_numbers(1000, 8, seed=1)
    runs = [Run(vectors[:300].half(), 0, 300), Run(vectors.half(), 300, 1000)]
    places, scores = nearest_vectors(queries, runs, k)
    wanted_places, wanted_scores = sort_all(queries, vectors, k)
    np.testing.assert_array_equal(places, wanted_places)
    np.testing.assert_array_equal(scores, wanted_scores)


def test_scattered_rows_count_through_the_runs(threads, small_blocks):
    queries, vectors = whole_numbers(4, 8), whole_numbers(900, 8, seed=1)
    rows = torch.from_numpy(np.random.default_rng(2).permutation(900)[:400])
    runs = [Run(vectors, 0, 900, rows[:150]), Run(vectors, 100, 103), Run(vectors, 0, 900, rows[150:])]
    chosen = torch.cat([rows[:150], torch.arange(100, 103), rows[150:]])
    places, _ = nearest_vectors(queries, runs, 50)
    np.testing.assert_array_equal(places, sort_all(queries, vectors[chosen], 50)[0])


def test_number_of_threads_changes_nothing(small_blocks):
    """Vectors whose products are rounded: by how much may depend on where a thread's blocks lie in memory."""
    generator = torch.Generator().manual_seed(0)
    queries, vectors = torch.randn(6, 8, generator=generator), torch.randn(3000, 8, generator=generator).half()
    found = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        found.append(nearest_vectors(queries, [Run(vectors, 0, 3000)], 40))
    torch.set_num_threads(1)
    for places, scores in found[1:]:
        assert torch.equal(places, found[0][0])
        torch.testing.assert_close(scores, found[0][1], rtol=1e-6, atol=1e-6)


def test_search_leaves_the_number_of_threads_as_it_was(small_blocks):
    torch.set_num_threads(3)
    try:
        nearest_vectors(whole_numbers(2, 8), [Run(whole_numbers(1000, 8), 0, 1000)], 3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


@given(
    st.lists(
        st.sampled_from([-1.0, -0.0, 0.0, 2.0**-100, 0.5, 0.5 + 2.0**-20, 2.0, -(2.0**120)]), min_size=1, max_size=300
    ),
    st.integers(1, 20),
    st.integers(1, 200),
)
def test_best_scores_are_kept_however_they_are_cut(values, k, size):
    scores = torch.tensor(values)[None]
    best = TopK(1, k, scores.device)
    for first in range(0, len(values), size):
        part = scores[:, first : first + size]
        padded = torch.zeros(1, -(-part.shape[1] // GROUP) * GROUP)
        padded[:, : part.shape[1]] = part
        best.add(padded, part.shape[1], first)
    keys = best.keys[best.keys != EMPTY]
    wanted = sorted(range(len(values)), key=lambda place: (-values[place], place))[:k]
    assert module._places(keys).tolist() == wanted
    assert module._scores(keys).tolist() == [values[place] for place in wanted]


@pytest.mark.parametrize("k", [0, 11])
def test_as_many_as_there_are_not_cannot_be_asked_for(k):
    with pytest.raises(ValueError, match=f"k is {k}, of 10 vectors"):
        nearest_vectors(whole_numbers(1, 8), [Run(whole_numbers(10, 8), 0, 10)], k)
