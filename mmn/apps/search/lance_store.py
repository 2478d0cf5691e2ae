"""The embedded approximate store: LanceDB (Apache-2.0), which keeps tables in a folder. Needs `pip install .[search]`.

A folder holds

    index.json       the description
    moments.lance/   a row per moment, and the structures by which they are searched
    videos.lance/    a row per video: which entry of the moments counts (`mmn.apps.search.row_store`)
    .lock            held while something is written

A change of a table is a new version of it, so readers keep to the one that they have seen and wait for nobody. Writers wait
for each other.

From INDEX_FROM moments on, `optimize` groups the moments by k-means and keeps a bit per dimension of each (IVF with RaBitQ
codes). A search looks into the PROBES nearest groups, and compares the CANDIDATES best by code anew by their whole
vectors. What was added since the last `optimize` is compared whole, and so is everything where `exact` is asked for, where
the videos that are searched have few moments, and in the IoU head's space.
"""

import contextlib
import datetime
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from mmn.apps.search.index_types import IndexInfo, VideoMoments
from mmn.apps.search.lance_tables import SQL, moment_schema, moment_table, read_list, to_rows, video_schema, video_table
from mmn.apps.search.row_store import MOMENT_COLUMNS, Condition, FoundRows, RowStore, VideoList
from mmn.apps.search.vector_store import (
    check_vacant,
    explained_writing,
    read_folder_info,
    read_own_info,
    reason_of,
    write_folder_info,
)
from mmn.utils.errors import DataError, UserError
from mmn.utils.file_cache import read_ahead
from mmn.utils.files import file_lock

MOMENTS, VIDEOS, LOCK = "moments", "videos", ".lock"
DATA = "data"  # the folder in a table that has its rows
INDEX_FROM = 100_000  # moments; fewer are compared whole in a moment
GROUP_SIZE = 2500  # moments of a group, about
TRAINING_ROWS = 64  # moments per group that k-means looks at
OUTGROWN = 3  # the groups are made anew where the index has so many times the moments of when they were made
GROUPS = "groups_"  # in the name of the structure, before their number
PROBES = 256
CANDIDATES = 1000
FEW_ROWS = 50_000  # moments of the videos that are searched, up to which they are compared whole
AFTERWARDS = 4  # hits per wanted one (at least CANDIDATES) that are looked through for moments of the right length
MOST_FRAGMENTS = 256  # files of a table that `put` lets gather before it puts them together
WRITER_PATIENCE = 6 * 3600.0  # seconds: another writer may be optimizing
ATTEMPTS = 5  # at a version of a table while others write
LIBRARY_ERRORS = (RuntimeError, OSError, ValueError)


class LanceStore(RowStore):
    """See the module."""

    name = "lance"

    def __init__(self, place: str, info: IndexInfo):
        super().__init__(place, info)
        with _reading(place):
            database = _lancedb().connect(place)
            self._moments, self._videos = database.open_table(MOMENTS), database.open_table(VIDEOS)
        self._list = self._load()

    # ---- Being there ----

    @classmethod
    def create(cls, place: str, info: IndexInfo) -> "LanceStore":
        lancedb = _lancedb()
        with explained_writing(place, LIBRARY_ERRORS):
            os.makedirs(place, exist_ok=True)
            with file_lock(os.path.join(place, LOCK)):
                check_vacant(place)
                database = lancedb.connect(place)
                for name, schema in ((MOMENTS, moment_schema(info.dim)), (VIDEOS, video_schema())):
                    shutil.rmtree(os.path.join(place, f"{name}.lance"), ignore_errors=True)  # of a killed one
                    database.create_table(name, schema=schema)
                write_folder_info(place, cls.name, info)  # last: it makes the folder an index
        return cls(place, info)

    @classmethod
    def open(cls, place: str) -> "LanceStore":
        return cls(place, read_own_info(place, cls.name))

    def write_info(self, info: IndexInfo) -> None:
        with self._writing():
            write_folder_info(self.place, self.name, info)
            self.info = info

    def refresh(self) -> None:
        self.info = read_folder_info(self.place)[1]
        super().refresh()

    def prewarm(self) -> None:
        """Read the groups, and have the system read the vectors, which every search compares some of, from all over."""
        with _reading(self.place):
            if groups := self.num_groups:
                self._moments.prewarm_index(f"{GROUPS}{groups}")
            read_ahead(os.path.join(self.place, f"{MOMENTS}.lance", DATA))

    def close(self) -> None:
        self._list = VideoList({})

    # ---- Videos ----

    def optimize(self) -> None:
        """Put files together, leave out what was replaced, and make or extend the groups that are searched.

        For a while it needs room for a second copy. Readers that have not looked since see the new state from then on.
        """
        with self._writing():
            self._list = self._load()
            counts = self._moments.search().select(["entry"]).to_arrow()["entry"].unique().to_pylist()
            if abandoned := self._abandoned(counts):
                self._delete(abandoned)
            self._clean()
            if self._build():
                self._clean()
            self._list = self._load()

    def _clean(self) -> None:
        for table in (self._moments, self._videos):
            # Readers of a former version read again (`_read`). Nobody else writes, so what no version names is abandoned.
            table.optimize(cleanup_older_than=datetime.timedelta(seconds=1), delete_unverified=True)

    def _build(self) -> bool:
        """Make the structures that are missing or have been outgrown; whether there were any."""
        index = import_module("lancedb.index")
        rows = self._moments.count_rows()
        if rows < INDEX_FROM:
            return False
        names = {config.name for config in self._moments.list_indices()}
        missing = [column for column in ("entry", "length") if column not in names]
        for column in missing:
            self._moments.create_index(column, config=index.BTree(), name=column)
        groups, former = round(rows / GROUP_SIZE), self.num_groups
        if former * OUTGROWN <= groups:
            config = index.IvfRq(distance_type="dot", num_partitions=groups, sample_rate=TRAINING_ROWS)
            self._moments.create_index("contrastive", config=config, name=f"{GROUPS}{groups}")
            if former:
                self._moments.drop_index(f"{GROUPS}{former}")
            missing.append("contrastive")
        return bool(missing)

    @property
    def num_groups(self) -> int:
        """Into how many groups the moments were put; 0 where all are compared whole."""
        names = (config.name for config in self._moments.list_indices())
        return max((int(name.removeprefix(GROUPS)) for name in names if name.startswith(GROUPS)), default=0)

    def _load(self) -> VideoList:
        """The list, and a version of the moments that has all it names: nobody changed the list around its opening."""
        with _reading(self.place):
            for _ in range(ATTEMPTS):
                self._videos.checkout_latest()
                version = self._videos.version
                videos = self._list if version == self._list.version else read_list(self._videos)
                self._moments.checkout_latest()
                self._videos.checkout_latest()
                if self._videos.version == version:
                    break
        return videos

    def _former(self, video_ids: Collection[str]) -> list[int]:
        self._list = self._load()
        return [self._list.numbers[video_id] for video_id in video_ids if video_id in self._list.numbers]

    def _add(self, videos: Mapping[int, VideoMoments]) -> None:
        self._moments.add(moment_table(videos, self.info.dim))
        self._tidy(self._moments)

    def _name(self, videos: Mapping[int, VideoMoments]) -> int:
        merge = self._videos.merge_insert("video_id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(video_table(videos))
        self._tidy(self._videos)
        return self._videos.version

    def _tidy(self, table: Any) -> None:
        if table.stats()["fragment_stats"]["num_small_fragments"] > MOST_FRAGMENTS:
            self._clean()

    def _forget(self, video_ids: Collection[str]) -> int:
        self._videos.delete(SQL.of_entries(self._list.numbers[video_id] for video_id in video_ids))
        return self._videos.version

    def _delete(self, entries: Collection[int]) -> None:
        self._moments.delete(SQL.of_entries(entries))

    def _rows_of(self, entry: int) -> FoundRows:
        def ask() -> FoundRows:
            return to_rows(
                self._moments.search().where(SQL.of_entries([entry])).select(list(MOMENT_COLUMNS)).to_arrow(),
                self.info.dim,
            )

        return self._read(ask)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with explained_writing(self.place, LIBRARY_ERRORS), file_lock(os.path.join(self.place, LOCK), WRITER_PATIENCE):
            yield

    # ---- Searching ----

    def _nearest(self, vector: np.ndarray, head: str, limit: int, condition: Condition, exact: bool) -> FoundRows:
        few = condition.entries is not None and condition.num_rows <= FEW_ROWS
        whole = exact or head != "contrastive" or few
        if condition.bounds_length and not whole:
            # The rows of a length can be half of all: to list them first takes longer than to look through the nearest.
            nearest = max(CANDIDATES, AFTERWARDS * limit)
            rows = self._ask(vector, head, nearest, condition, whole, filters_first=False)
            if len(rows) >= limit:
                return rows
        return self._ask(vector, head, limit, condition, whole)

    def _ask(
        self, vector: np.ndarray, head: str, limit: int, condition: Condition, whole: bool, filters_first: bool = True
    ) -> FoundRows:
        """`filters_first`: the condition holds for what is compared, otherwise the nearest are looked through for it."""

        def ask() -> FoundRows:
            query = self._moments.search(vector, vector_column_name=head, query_type="vector").distance_type("dot")
            query = query.limit(limit).select([*MOMENT_COLUMNS, "_distance"])
            if words := SQL.of(condition):
                query = query.where(words, prefilter=filters_first)
            if whole:
                query = query.bypass_vector_index()
            else:
                query = query.minimum_nprobes(PROBES).maximum_nprobes(0 if words and filters_first else PROBES)
                query = query.refine_factor(max(2, math.ceil(CANDIDATES / limit)))
            return to_rows(query.to_arrow(), self.info.dim)

        return self._read(ask)

    def _read(self, ask: Callable[[], FoundRows]) -> FoundRows:
        """The result of `ask`, which is called again where another process's `optimize` took away the version seen here."""
        with _reading(self.place):
            for _ in range(ATTEMPTS):
                try:
                    return ask()
                except (RuntimeError, OSError) as error:
                    if "not found" not in str(error).lower():
                        raise
                    self._list = self._load()
            return ask()


def _lancedb() -> Any:
    """LanceDB. Raises UserError where it is not installed."""
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        return import_module("lancedb")
    except ImportError as error:
        raise UserError("this index needs LanceDB, which is not installed: pip install .[search]") from error


@contextlib.contextmanager
def _reading(place: str) -> Iterator[None]:
    """Within it the library's errors about files that it cannot read become a DataError."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise DataError(f"the index {place} cannot be read ({reason_of(error)}): build it again") from error
