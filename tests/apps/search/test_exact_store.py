"""The exact engine keeps the contract."""

from store_contract import EngineContract


class TestExactEngine(EngineContract):
    name = "exact"
