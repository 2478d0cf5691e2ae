"""Builds of an index and the first searches in it, as they are measured."""

from argparse import Namespace

import pytest
import torch
from localizing import checkpoint_content

from mmn.apps.benchmark import first_searches, index_build, search_scale
from mmn.apps.benchmark.index_build import COLUMNS, print_builds
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.search.vector_store import open_store


def test_each_turn_builds_an_index_of_all_videos_after_one_that_does_not_count(tiny_cfg, tmp_path, monkeypatch):
    torch.save(checkpoint_content(tiny_cfg), tmp_path / "model.pth")
    localizer = MomentLocalizer.from_checkpoint(tmp_path / "model.pth", device="cpu")
    built, build = [], index_build.build_index

    def counted(*args):
        build(*args)
        with open_store(args[2]) as index:
            built.append(len(index.videos()))

    monkeypatch.setattr(index_build, "random_localizer", lambda name: localizer)
    monkeypatch.setattr(index_build, "build_index", counted)
    (row,) = print_builds(["charades"], 2, [5])
    assert built == [localizer.batch_size, 5, 5]
    assert list(row) == list(COLUMNS) and (row["setting"], row["videos"]) == ("charades", "5")
    assert float(row["build s"]) > 0 and float(row["forward s"]) >= 0


@pytest.mark.parametrize("prewarms", [True, False])
def test_searches_are_timed_from_the_first_on(tmp_path, monkeypatch, prewarms):
    lance_store = pytest.importorskip("mmn.apps.search.lance_store")
    pytest.importorskip("lancedb", reason="needs LanceDB")
    place, calls = str(tmp_path / "index"), []
    search_scale.build(Namespace(place=place, vectors=1200, engine="lance"))
    monkeypatch.setattr(first_searches, "NUM_SEARCHES", 4)
    monkeypatch.setattr(lance_store.LanceStore, "prewarm", lambda store: calls.append("prewarm"))
    search = lance_store.LanceStore.search
    monkeypatch.setattr(lance_store.LanceStore, "search", lambda *args: calls.append("search") or search(*args))
    found = first_searches.measure_opening(place, 1200, prewarms)
    assert calls == ["prewarm"] * prewarms + ["search"] * 4
    assert 0 < found["p50"] <= found["p95"] <= found["slowest"] and found["open"] > 0
