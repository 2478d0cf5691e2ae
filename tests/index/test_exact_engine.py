"""The exact engine keeps the contract."""

from engine_contract import EngineContract


class TestExactEngine(EngineContract):
    name = "exact"
