"""The engine behind an address keeps the contract, with Milvus Lite as the server: the same client, the same protocol."""

import itertools

import pytest
from engine_contract import EngineContract

server_module = pytest.importorskip("milvus_lite.adapter.grpc.server", reason="needs milvus-lite")
numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a server in this process."""
    server, database, port = server_module.start_server_in_thread(str(tmp_path_factory.mktemp("milvus")))
    yield f"http://127.0.0.1:{port}"
    server.stop(grace=0)
    database.close()


class TestMilvusEngine(EngineContract):
    name = "milvus"

    @pytest.fixture
    def place(self, server):
        return f"{server}/index{next(numbers)}"

    @pytest.fixture
    def other_place(self, server):
        return f"{server}/other{next(numbers)}"
