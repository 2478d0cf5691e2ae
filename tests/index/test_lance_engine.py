"""The embedded engine keeps the contract, with and without the structures that make it approximate."""

from engine_contract import EngineContract


class TestLanceEngine(EngineContract):
    name = "lance"
