"""One class for each library that `mmn.apps.benchmark.vector_engines` compares, with the same few methods."""

import datetime
import os
from typing import NamedTuple

import numpy as np

PROBES = 100  # groups that those with groups look into, of one per 2500 vectors


class Batch(NamedTuple):
    """n vectors: ids [n], numbers of videos [n], lengths in seconds [n], vectors [n, C] float16."""

    ids: np.ndarray
    videos: np.ndarray
    lengths: np.ndarray
    vectors: np.ndarray


class Trial:
    """A library with its files in `folder`. What it does not need it leaves out."""

    packages: tuple[str, ...]  # distributions that it brings, beside NumPy

    def __init__(self, folder: str):
        self.folder = folder

    def create(self, width: int, num_vectors: int) -> None: ...
    def open(self) -> None: ...
    def close(self) -> None: ...
    def add(self, batch: Batch) -> None: ...
    def sync(self) -> None:
        """Make what was added last through the end of this process."""

    def finish(self) -> None: ...
    def search(self, query: np.ndarray, k: int, videos=None, min_length: float | None = None) -> np.ndarray: ...
    def delete(self, ids: np.ndarray) -> None: ...
    def count(self) -> int: ...


class Lance(Trial):
    """LanceDB: IVF with RaBitQ codes, the best 1000 compared again; whole comparison where a filter leaves few."""

    packages = ("lancedb", "pyarrow", "lance-namespace", "lance-namespace-urllib3-client")

    def create(self, width, num_vectors):
        os.environ.setdefault("LANCEDB_LOG", "error")
        import lancedb
        import pyarrow

        fields = {"id": pyarrow.int64(), "video": pyarrow.int64(), "length": pyarrow.float32()}
        schema = pyarrow.schema({**fields, "vector": pyarrow.list_(pyarrow.float16(), width)})
        self.groups = max(1, num_vectors // 2500)
        self.table = lancedb.connect(self.folder).create_table("moments", schema=schema)

    def open(self):
        import lancedb

        self.table = lancedb.connect(self.folder).open_table("moments")

    def add(self, batch):
        import pyarrow

        vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(batch.vectors.ravel()), batch.vectors.shape[1])
        columns = [pyarrow.array(part) for part in (batch.ids, batch.videos, batch.lengths)]
        self.table.add(pyarrow.table([*columns, vectors], schema=self.table.schema))

    def finish(self):
        from lancedb.index import BTree, IvfRq

        self.table.optimize(cleanup_older_than=datetime.timedelta(seconds=1))
        self.table.create_index("video", config=BTree())
        self.table.create_index("length", config=BTree())
        self.table.create_index("vector", config=IvfRq(distance_type="dot", num_partitions=self.groups, sample_rate=64))

    def search(self, query, k, videos=None, min_length=None):
        asked = self.table.search(query, query_type="vector").distance_type("dot").limit(k).select(["id", "_distance"])
        if videos is not None:
            asked = asked.where(f"video IN ({', '.join(map(str, videos))})", prefilter=True).bypass_vector_index()
        else:
            asked = asked.minimum_nprobes(PROBES).maximum_nprobes(PROBES if min_length is None else 0)
            asked = asked.refine_factor(max(2, 1000 // k))
        if min_length is not None:
            asked = asked.where(f"length >= {min_length}", prefilter=True)
        return asked.to_arrow()["id"].to_numpy()

    def delete(self, ids):
        self.table.delete(f"id IN ({', '.join(map(str, ids.tolist()))})")

    def count(self):
        return self.table.count_rows()


class Faiss(Trial):
    """FAISS: IVF over float16 vectors. It keeps one index in memory and one file; what a filter needs is ours to keep."""

    packages = ("faiss-cpu",)

    def create(self, width, num_vectors):
        import faiss

        groups = max(1, num_vectors // 2500)
        coder = faiss.ScalarQuantizer.QT_fp16
        self.index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width), width, groups, coder, faiss.METRIC_INNER_PRODUCT
        )
        self.training = 64 * groups
        self.is_filling = True
        self.waiting: list[Batch] = []
        self.fields = np.zeros((2, 0))

    def _path(self, name):
        return os.path.join(self.folder, name)

    def open(self):
        import faiss

        self.index = faiss.read_index(self._path("index"))
        self.fields = np.load(self._path("fields.npy"))
        self.is_filling = False

    def add(self, batch):
        """While the index is made the vectors wait: k-means wants a sample of all of them."""
        if self.is_filling:
            self.waiting.append(batch)
            return
        self.index.add_with_ids(batch.vectors.astype(np.float32), batch.ids)
        self.fields = np.concatenate([self.fields, [batch.videos, batch.lengths]], axis=1)

    def finish(self):
        vectors = np.concatenate([batch.vectors for batch in self.waiting])
        sample = np.random.default_rng(0).choice(len(vectors), min(self.training, len(vectors)), replace=False)
        self.index.train(vectors[np.sort(sample)].astype(np.float32))
        self.is_filling = False
        for batch in self.waiting:
            self.add(batch)
        self.sync()

    def sync(self):
        import faiss

        for name, write in (
            ("index", lambda path: faiss.write_index(self.index, path)),
            ("fields.npy", lambda path: np.save(path, self.fields)),
        ):
            write(self._path(f"new_{name}"))
            os.replace(self._path(f"new_{name}"), self._path(name))

    def search(self, query, k, videos=None, min_length=None):
        import faiss

        kept = None
        if videos is not None:
            kept = faiss.IDSelectorBatch(np.flatnonzero(np.isin(self.fields[0], list(videos))))
        if min_length is not None:
            kept = faiss.IDSelectorBatch(np.flatnonzero(self.fields[1] >= min_length))
        probes = PROBES if videos is None else self.index.nlist
        ids = self.index.search(query[None], k, params=faiss.SearchParametersIVF(sel=kept, nprobe=probes))[1][0]
        return ids[ids >= 0]

    def delete(self, ids):
        self.index.remove_ids(ids)

    def count(self):
        return self.index.ntotal


class Usearch(Trial):
    """USearch: one HNSW graph over float16 vectors, one file; a filter is a function called for each candidate."""

    packages = ("usearch", "numkong")

    def _new(self, width):
        from usearch.index import Index

        return Index(ndim=width, metric="ip", dtype="f16", connectivity=16, expansion_add=128, expansion_search=256)

    def create(self, width, num_vectors):
        self.index = self._new(width)

    def open(self):
        self.index = self._new(256)
        self.index.load(os.path.join(self.folder, "index"))

    def add(self, batch):
        self.index.add(batch.ids, batch.vectors)

    def sync(self):
        path = os.path.join(self.folder, "index")
        self.index.save(f"{path}.new")
        os.replace(f"{path}.new", path)

    finish = sync

    def search(self, query, k, videos=None, min_length=None):
        if videos is not None or min_length is not None:
            raise NotImplementedError
        return self.index.search(query.astype(np.float16), k).keys

    def delete(self, ids):
        self.index.remove(ids)

    def count(self):
        return len(self.index)


class Milvus(Trial):
    """Milvus Lite: the client of Milvus, with a store in this process. HNSW of FAISS per segment of 100,000 vectors."""

    packages = ("pymilvus", "milvus-lite", "faiss-cpu", "pyarrow", "pandas", "grpcio")

    def _connect(self):
        from pymilvus import MilvusClient

        self.client = MilvusClient(os.path.join(self.folder, "milvus.db"))

    def create(self, width, num_vectors):
        from pymilvus import DataType

        self._connect()
        schema = self.client.create_schema()
        for name, kind in (("id", DataType.INT64), ("video", DataType.INT64), ("length", DataType.FLOAT)):
            schema.add_field(name, kind, is_primary=name == "id")
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        index = self.client.prepare_index_params()
        index.add_index("vector", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 128})
        self.client.create_collection("moments", schema=schema, index_params=index)

    def open(self):
        self._connect()
        self.client.load_collection("moments")

    def close(self):
        self.client.close()

    def add(self, batch):
        vectors = batch.vectors.astype(np.float32)
        rows = zip(batch.ids.tolist(), batch.videos.tolist(), batch.lengths.tolist(), vectors, strict=True)
        names = ("id", "video", "length", "vector")
        self.client.insert("moments", [dict(zip(names, row, strict=True)) for row in rows])

    def finish(self):
        self.client.flush("moments")
        self.client.load_collection("moments")

    def search(self, query, k, videos=None, min_length=None):
        words = "" if videos is None else f"video in [{', '.join(map(str, videos))}]"
        words = words if min_length is None else f"length >= {min_length}"
        parameters = {"metric_type": "IP", "params": {"ef": max(256, k)}}
        found = self.client.search("moments", [query], limit=k, filter=words, search_params=parameters)
        return np.array([hit["id"] for hit in found[0]])

    def delete(self, ids):
        self.client.delete("moments", ids=ids.tolist())

    def count(self):
        return self.client.query("moments", filter="", output_fields=["count(*)"])[0]["count(*)"]


class Qdrant(Trial):
    """Qdrant's client in its local mode, which compares everything in NumPy; its server is another program."""

    packages = ("qdrant-client", "grpcio", "pydantic", "portalocker")

    def open(self):
        from qdrant_client import QdrantClient

        self.client = QdrantClient(path=self.folder)

    def create(self, width, num_vectors):
        from qdrant_client import models

        self.open()
        vectors = models.VectorParams(size=width, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16)
        self.client.create_collection("moments", vectors_config=vectors)

    def close(self):
        self.client.close()

    def add(self, batch):
        from qdrant_client import models

        fields = [{"video": int(v), "length": float(n)} for v, n in zip(batch.videos, batch.lengths, strict=True)]
        vectors = batch.vectors.astype(np.float32)
        self.client.upsert("moments", models.Batch(ids=batch.ids.tolist(), vectors=vectors.tolist(), payloads=fields))

    def search(self, query, k, videos=None, min_length=None):
        from qdrant_client import models

        must = []
        if videos is not None:
            must.append(models.FieldCondition(key="video", match=models.MatchAny(any=list(videos))))
        if min_length is not None:
            must.append(models.FieldCondition(key="length", range=models.Range(gte=min_length)))
        found = self.client.query_points("moments", query, limit=k, query_filter=models.Filter(must=must))
        return np.array([point.id for point in found.points])

    def delete(self, ids):
        self.client.delete("moments", ids.tolist())

    def count(self):
        return self.client.count("moments").count


TRIALS = {"lance": Lance, "faiss": Faiss, "usearch": Usearch, "milvus": Milvus, "qdrant": Qdrant}
