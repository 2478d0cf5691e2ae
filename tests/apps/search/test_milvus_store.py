"""The store behind an address keeps the contract, with Milvus Lite as the server: the same client, the same protocol."""

import itertools
import sys

import numpy as np
import pytest
from index_data import INFO, assert_same_hits, assert_same_video, plain_search, queries, video, videos
from vector_store_contract import StoreContract

from mmn.apps.search import milvus_collections, row_store
from mmn.apps.search.milvus_store import MilvusStore
from mmn.apps.search.vector_store import copy_index, create_store, open_store
from mmn.structures.query_vectors import HEADS
from mmn.utils.errors import ConfigError, UserError

server_module = pytest.importorskip("milvus_lite.adapter.grpc.server", reason="needs milvus-lite")
numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a server in this process."""
    server, database, port = server_module.start_server_in_thread(str(tmp_path_factory.mktemp("milvus")))
    yield f"http://127.0.0.1:{port}"
    server.stop(grace=0)
    database.close()


class TestMilvusStore(StoreContract):
    name = "milvus"

    @pytest.fixture
    def place(self, server):
        return f"{server}/index{next(numbers)}"

    @pytest.fixture
    def other_place(self, server):
        return f"{server}/other{next(numbers)}"


def test_rows_of_a_writer_that_was_killed_are_never_found_and_go_with_optimize(server, monkeypatch):
    held = videos(4)
    with create_store(f"{server}/killed", INFO, "milvus") as store:
        store.put(held)
        monkeypatch.setattr(MilvusStore, "_name", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.put([video("video1", 9, seed=5)])
        monkeypatch.undo()
    with open_store(f"{server}/killed") as again:
        assert_same_video(again.read("video1"), held[1])
        assert_same_hits(again.search(queries(), 20), plain_search(held, queries(), 20))
        monkeypatch.setattr(row_store, "ABANDONED_SECONDS", -3600)
        again.optimize()
        assert again._client.query("killed", filter="", output_fields=["count(*)"])[0]["count(*)"] == again.num_moments
        assert_same_hits(again.search(queries(), 20), plain_search(held, queries(), 20))


def test_index_is_copied_from_a_folder_to_an_address(server, tmp_path):
    held = videos(5)
    with create_store(str(tmp_path / "index"), INFO, "exact") as source:
        source.put(held)
        with create_store(f"{server}/copied", INFO, "milvus") as target:
            assert list(copy_index(source, target)) == [5]
            for part in held:
                assert_same_video(target.read(part.video_id), part)


def test_server_that_cannot_be_reached_is_one_sentence():
    with pytest.raises(UserError, match="http://127.0.0.1:1/index failed .*see that it runs and is reachable"):
        open_store("http://127.0.0.1:1/index")


@pytest.mark.parametrize("place", ["http://host:19530", "http://host:19530/a/b", "ftp://host/index", "http://host/1-2"])
def test_address_without_a_name_is_refused(place):
    with pytest.raises(ConfigError, match="is not the address of an index: give http://HOST:PORT/NAME"):
        open_store(place)


def test_exact_search_is_refused(server):
    with create_store(f"{server}/approximate", INFO, "milvus") as store:
        store.put(videos(3))
        with pytest.raises(ConfigError, match="cannot be searched exactly"):
            store.search(queries(), 3, exact=True)


def test_more_hits_than_the_server_gives_are_refused(server):
    with create_store(f"{server}/small", INFO, "milvus") as store:
        store.put(videos(3))
        store.most_rows = 20
        with pytest.raises(ConfigError, match="30 hits were asked for, but the index .* gives 20 at most"):
            store.search(queries(), 30)
        assert store.search(queries(), 15).counts.tolist() == [15] * 5


def test_missing_library_is_one_sentence_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(UserError, match=r"needs pymilvus, which is not installed: pip install \.\[milvus\]"):
        open_store("http://127.0.0.1:1/index")


@pytest.mark.parametrize("is_lite, dtype", [(True, np.float32), (False, np.float16)])
def test_vectors_are_sent_as_the_server_keeps_them(is_lite, dtype):
    part = video("video", 4)
    for number, row in enumerate(milvus_collections.moment_rows(1, part, is_lite)):
        for head in HEADS:
            assert row[head].dtype == dtype
            np.testing.assert_array_equal(row[head], part.vectors(head)[number])


def test_vectors_that_come_as_bytes_are_read():
    vector = np.arange(4, dtype=np.float16)
    for form in (vector.tobytes(), [vector.tobytes()], vector.tolist()):
        np.testing.assert_array_equal(milvus_collections._vector(form), vector)
