"""The store behind an address keeps the contract, with Milvus Lite as the server: the same client, the same protocol."""

import itertools
import os
import sys

import numpy as np
import pytest
from index_data import INFO, assert_same_hits, assert_same_video, plain_search, queries, video, videos
from vector_store_contract import StoreContract

from mmn.apps.search import milvus_collections, row_store
from mmn.apps.search.milvus_collections import MomentCollections
from mmn.apps.search.milvus_store import MilvusStore
from mmn.apps.search.vector_store import copy_index, create_store, open_store
from mmn.structures.query_vectors import HEADS
from mmn.utils.errors import ConfigError, UserError

server_module = pytest.importorskip("milvus_lite.adapter.grpc.server", reason="needs milvus-lite")
numbers = itertools.count()
REAL_SERVER = "MMN_MILVUS"  # the environment variable with the address of a Milvus server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a server in this process, or of the one that test_milvus_server.py has started."""
    if real := os.environ.get(REAL_SERVER):
        yield real
        return
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


@pytest.mark.parametrize(
    "version, dtype",
    [
        ("milvus_lite-3.2.2", np.float32),
        ("v2.3.5-lite", np.float32),
        ("v2.4.0", np.float16),
        ("v2.6.1-lite", np.float16),
        ("", np.float16),
    ],
)
def test_vectors_are_sent_as_the_server_keeps_them(version, dtype):
    part, collections = video("video", 4), MomentCollections.planned("library", version)
    assert set(collections.distinct()) == {"library", "library_iou"}
    for head in HEADS:
        for number, row in enumerate(collections.rows(collections.names[head], 1, part)):
            assert row[head].dtype == dtype
            np.testing.assert_array_equal(row[head], part.vectors(head)[number])


def test_server_that_is_too_old_is_one_sentence(server, monkeypatch):
    import pymilvus

    monkeypatch.setattr(pymilvus.MilvusClient, "get_server_version", lambda _: "v2.2.9")
    with pytest.raises(UserError, match="is Milvus v2.2.9, which cannot replace rows: 2.3 or later is needed"):
        open_store(f"{server}/old")


@pytest.mark.skipif(REAL_SERVER in os.environ, reason="Milvus 2.3 has one field of vectors in a collection")
def test_index_of_an_earlier_version_is_read_searched_and_changed(server, monkeypatch):
    def both_in_one(name, version):
        return MomentCollections(dict.fromkeys(HEADS, name), np.float32)

    def make(self, client, dim):
        vector = ("FLOAT_VECTOR", {"dim": dim})
        rest = milvus_collections.moment_fields("contrastive", dim, np.float32)
        del rest["key"]
        fields = {"id": ("INT64", {"is_primary": True, "auto_id": True}), **rest, "iou": vector}
        make_both(client, self.names["iou"], fields)

    monkeypatch.setattr(MomentCollections, "planned", both_in_one)
    monkeypatch.setattr(MomentCollections, "make", make)
    held = videos(4)
    with create_store(f"{server}/earlier", INFO, "milvus") as store:
        store.put(held)
    monkeypatch.undo()
    with open_store(f"{server}/earlier") as again:
        held[2] = video("video2", 5, seed=8)
        again.put([held[2]])
        assert_same_video(again.read("video1"), held[1])
        for head in HEADS:
            assert_same_hits(again.search(queries(), 20, head=head), plain_search(held, queries(), 20, head=head))


def make_both(client, name, fields):
    """A collection of two fields of vectors, as earlier versions of the program made them."""
    from pymilvus import DataType

    schema, parameters = client.create_schema(enable_dynamic_field=False), client.prepare_index_params()
    for field, (kind, options) in fields.items():
        schema.add_field(field, getattr(DataType, kind), **options)
    for head in HEADS:
        parameters.add_index(head, metric_type="IP", index_type="FLAT")
    client.create_collection(name, schema=schema, index_params=parameters, consistency_level="Strong")
    client.load_collection(name)


def test_vectors_that_come_as_bytes_are_read():
    vector = np.arange(4, dtype=np.float16)
    for form in (vector.tobytes(), [vector.tobytes()], vector.tolist()):
        np.testing.assert_array_equal(milvus_collections._vector(form), vector)
