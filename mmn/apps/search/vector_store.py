"""Vector stores, which keep an index and search it: one interface, several libraries behind it (docs/SEARCH_DESIGN.md).

A store owns all of an index: the vectors of both heads, the times, the videos and the description. Its place is a
folder, or the address of a server. Any number of processes may read an index while one writes to it; a video that was put
is whole or not there, also where the writer is killed.

Users know the kinds of stores as engines: `--engine NAME` and `engine=` choose one, and the description of an index names
it. These words stay, since command lines and index files hold them; elsewhere in the code an engine is what trains.
"""

import contextlib
import difflib
import importlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from mmn.apps.search.index_types import Hits, IndexInfo, MomentFilter, VideoEntry, VideoMoments
from mmn.apps.search.store_names import STORES
from mmn.structures.query_vectors import HEADS, QueryVectors
from mmn.utils.errors import ConfigError, DataError, UserError, nearest
from mmn.utils.files import atomic_path
from mmn.utils.text_files import parse_json, read_text

INFO_FILE = "index.json"  # in an index's folder: the store's name, as "engine", and the description
EVERYTHING = MomentFilter()


class VectorStore(ABC):
    """An index that is open.

    Attributes:
        name: its kind, a key of STORES.
        place: folder or address.
        info: the index's description.
        max_hits: the most hits per query that its library gives; None for any number.
    """

    name: str
    max_hits: int | None = None

    def __init__(self, place: str, info: IndexInfo):
        self.place = place
        self.info = info

    # ---- Being there ----

    @classmethod
    @abstractmethod
    def create(cls, place: str, info: IndexInfo) -> "VectorStore":
        """A new index without videos. Raises ConfigError where there is one already, UserError where none can be made."""

    @classmethod
    @abstractmethod
    def open(cls, place: str) -> "VectorStore":
        """An index that is there. Raises DataError where it is not, or is damaged."""

    @abstractmethod
    def write_info(self, info: IndexInfo) -> None:
        """Replace the description."""

    @abstractmethod
    def refresh(self) -> None:
        """See what other processes have written since this one opened the index or last looked."""

    def use_device(self, device: torch.device | str) -> None:  # noqa: B027, most stores have nothing to do
        """Search on a device, where the store is one that computes by torch; others have no use for it."""

    def prewarm(self) -> None:  # noqa: B027, most stores have nothing to do
        """Read what every search needs, so that the first ones wait for no disk."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections. The store is not used afterwards."""

    def __enter__(self) -> "VectorStore":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # ---- Videos ----

    @abstractmethod
    def videos(self) -> Mapping[str, VideoEntry]:
        """The videos of the index by their ids, as of the last `refresh` or change."""

    @abstractmethod
    def put(self, videos: Sequence[VideoMoments]) -> None:
        """Add videos; those whose id the index has already are replaced. Each is whole or not there, whatever happens.

        Raises ConfigError where the vectors' width is not the index's.
        """

    @abstractmethod
    def remove(self, video_ids: Iterable[str]) -> None:
        """Take videos out. Raises ConfigError where the index lacks one, and removes none then."""

    @abstractmethod
    def read(self, video_id: str) -> VideoMoments:
        """All that the index holds of a video. Raises ConfigError where it lacks it."""

    @abstractmethod
    def optimize(self) -> None:
        """Make searches fast and give back space, after many changes. What is found stays the same, up to approximation."""

    # ---- Searching ----

    @abstractmethod
    def search(
        self,
        queries: QueryVectors,
        k: int,
        where: MomentFilter = EVERYTHING,
        head: str = "contrastive",
        exact: bool = False,
    ) -> Hits:
        """The k moments that are nearest to each of Q queries, by the cosine in one head's space.

        A query has fewer hits only where fewer moments pass.

        Args:
            k: hits per query at most.
            where: the moments that are considered.
            head: one of HEADS.
            exact: compare with every moment, where the store would approximate.
        Raises ConfigError for another head, and for a video in `where` that the index lacks.
        """

    @staticmethod
    def check_head(head: str) -> None:
        """Raise ConfigError where it is none of HEADS."""
        if head not in HEADS:
            raise ConfigError(f"there is no head {head!r}: the choices are {', '.join(HEADS)}")

    def check_known(self, video_ids: Iterable[str] | None) -> None:
        """Raise ConfigError, naming what is near, where the index lacks one of the videos."""
        known = self.videos()
        for video_id in video_ids or ():
            if video_id not in known:
                raise ConfigError(f"the index {self.place} has no video {video_id!r}{nearest_video(video_id, known)}")

    def check_width(self, videos: Sequence[VideoMoments]) -> None:
        """Raise ConfigError where a video's vectors are not as wide as the index's."""
        for video in videos:
            if video.contrastive.shape[1] != self.info.dim:
                raise ConfigError(
                    f"video {video.video_id} has vectors of width {video.contrastive.shape[1]}, but the index "
                    f"{self.place} holds {self.info.dim}: encode it by the model that built the index"
                )

    @property
    def num_moments(self) -> int:
        return sum(entry.num_moments for entry in self.videos().values())


def nearest_video(video_id: str, known: Mapping[str, VideoEntry]) -> str:
    """The end of an error sentence about a video that is not there."""
    if not known:
        return ": it has no video at all, so build it first"
    matches = difflib.get_close_matches(video_id, list(known), n=1, cutoff=0.6) if len(known) <= 10_000 else []
    return f": did you mean {matches[0]!r}?" if matches else ": correct the id, or add the video first"


DEFAULT_EXACT_MOMENTS = 3_000_000
"""The most moments for which the exact store is the default."""


def store_class(name: str) -> type[VectorStore]:
    """One of STORES. Raises ConfigError for another name, UserError where its library is missing."""
    if name not in STORES:
        raise ConfigError(f"there is no engine {name!r}{nearest(name, list(STORES))}")
    module, cls = STORES[name].split(":")
    return getattr(importlib.import_module(module), cls)


def is_address(place: str) -> bool:
    """Tell a server's address (True) from a folder."""
    return "://" in place


def default_store(place: str, num_moments: int) -> str:
    """The name of the store that a new index gets unless one is asked for."""
    if is_address(place):
        return "milvus"
    return "exact" if num_moments <= DEFAULT_EXACT_MOMENTS else "lance"


def has_index(place: str) -> bool:
    """Tell whether there is an index at `place`; at an address its server must say it."""
    if is_address(place):
        return store_class("milvus").exists(place)
    return os.path.exists(os.path.join(place, INFO_FILE))


def create_store(place: str, info: IndexInfo, name: str) -> VectorStore:
    """A new index at `place`, kept by the store of that name."""
    return store_class(name).create(place, info)


def ensure_store(place: str, info: IndexInfo, name: str) -> bool:
    """Make an index at `place`, unless another process does or has done so; returns whether this one made it."""
    try:
        create_store(place, info, name).close()
    except IndexExists:
        return False
    return True


def open_store(place: str) -> VectorStore:
    """The index at `place`, by the store that keeps it. Raises DataError where there is none."""
    if is_address(place):
        return store_class("milvus").open(place)
    return store_class(read_folder_info(place)[0]).open(place)


def write_folder_info(place: str, name: str, info: IndexInfo) -> None:
    """Write INFO_FILE, which says that `place` is an index of the store `name`."""
    with atomic_path(os.path.join(place, INFO_FILE)) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump({"engine": name, **info.to_dict()}, file, indent=2)


def read_folder_info(place: str) -> tuple[str, IndexInfo]:
    """The store's name and the description of the index in a folder. Raises DataError where there is none, or damaged."""
    path = os.path.join(place, INFO_FILE)
    if not os.path.exists(path):
        raise DataError(f"there is no index at {place}: correct the place, or build one by `mmn index`")
    try:
        values = parse_json(read_text(path))
        name = values.pop("engine")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"the description {path} is damaged ({error!r}): build the index again") from error
    return name, IndexInfo.from_dict(values, place)


def read_own_info(place: str, name: str) -> IndexInfo:
    """The description of the index in a folder. Raises ConfigError where it is one of another store than `name`."""
    found, info = read_folder_info(place)
    if found != name:
        raise ConfigError(f"the index {place} is kept by the engine {found}: open it by that one")
    return info


class IndexExists(ConfigError):
    """There is an index at the place where one was to be made."""

    def __init__(self, place: str):
        super().__init__(f"there is an index at {place} already: open it, or choose another place")


def check_vacant(place: str) -> None:
    """Raise IndexExists where the folder holds an index."""
    if os.path.exists(os.path.join(place, INFO_FILE)):
        raise IndexExists(place)


@contextlib.contextmanager
def explained_writing(place: str, errors: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Within it the errors of a disk, or of a library, become a UserError: the index cannot be written."""
    try:
        yield
    except errors as error:
        raise UserError(
            f"the index {place} cannot be written ({reason_of(error)}): what was there before is untouched; free some "
            "space or choose another place"
        ) from error


def reason_of(error: Exception) -> str:
    """The words of an error in one line."""
    words = getattr(error, "strerror", None) or str(error).strip()
    return words.splitlines()[0] if words else repr(error)


def copy_index(source: VectorStore, target: VectorStore, batch_size: int = 64) -> Iterator[int]:
    """Copy all videos that `target` has not yet in the same state; yields how many are done. Nothing is encoded again.

    Raises ConfigError where the two are of different models.
    """
    if source.info.model != target.info.model:
        raise ConfigError(
            f"the index {source.place} is of the model {source.info.model_name}, but {target.place} is of "
            f"{target.info.model_name}: copy it to a new place"
        )
    there = target.videos()
    missing = [name for name, entry in source.videos().items() if there.get(name) != entry]
    done = 0
    for start in range(0, len(missing), batch_size):
        names = missing[start : start + batch_size]
        target.put([source.read(name) for name in names])
        done += len(names)
        yield done
    target.optimize()
