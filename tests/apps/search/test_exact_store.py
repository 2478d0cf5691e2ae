"""The exact store keeps the contract."""

from vector_store_contract import StoreContract


class TestExactStore(StoreContract):
    name = "exact"
