"""The vector stores that can keep an index. Nothing here takes time to import."""

# Imported when they are asked for, since they may need a library that is not there.
STORES = {
    "exact": "mmn.apps.search.exact_store:ExactStore",
    "lance": "mmn.apps.search.lance_store:LanceStore",
    "milvus": "mmn.apps.search.milvus_store:MilvusStore",
}
