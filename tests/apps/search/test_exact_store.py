"""The exact engine keeps the contract."""

from vector_store_contract import EngineContract


class TestExactEngine(EngineContract):
    name = "exact"
