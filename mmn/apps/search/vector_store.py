"""What keeps an index and searches it. One small interface, several engines behind it (docs/SEARCH.md).

An engine owns all of an index: the vectors of both heads, the times, the videos and the description. Its place is a
folder, or the address of a server. Any number of processes may read an index while one writes to it; what was put is
whole or not there, also where the writer is killed.
"""

import difflib
import importlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from mmn.apps.search.records import Hits, IndexInfo, MomentFilter, VideoEntry, VideoMoments
from mmn.structures.query_vectors import QueryVectors
from mmn.utils.errors import ConfigError, DataError, nearest
from mmn.utils.files import atomic_path

INFO_FILE = "index.json"  # in an index's folder: the engine's name and the description
EVERYTHING = MomentFilter()


class Engine(ABC):
    """An index that is open.

    Attributes:
        name: what `create_engine` knows the engine by.
        place: folder or address.
        info: the index's description.
        max_hits: the most hits per query that its library gives; None for any number.
    """

    name: str
    takes_writers = True  # whether several processes may put at once
    max_hits: int | None = None

    def __init__(self, place: str, info: IndexInfo):
        self.place = place
        self.info = info

    # ---- Being there ----

    @classmethod
    @abstractmethod
    def create(cls, place: str, info: IndexInfo) -> "Engine":
        """A new index without videos. Raises ConfigError where there is one already, UserError where none can be made."""

    @classmethod
    @abstractmethod
    def open(cls, place: str) -> "Engine":
        """An index that is there. Raises DataError where it is not, or is damaged."""

    @abstractmethod
    def write_info(self, info: IndexInfo) -> None:
        """Replace the description."""

    @abstractmethod
    def refresh(self) -> None:
        """See what other processes have written since this one opened the index or last looked."""

    def use_device(self, device: torch.device | str) -> None:  # noqa: B027, most engines have nothing to do
        """Search on a device, where the engine is one that computes by torch; others have no use for it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections. The engine is not used afterwards."""

    def __enter__(self) -> "Engine":
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

        Args:
            k: hits per query at most; there are fewer where fewer moments pass.
            where: which moments are considered; an id that the index lacks is a ConfigError (`check_known`).
            head: one of HEADS; ConfigError where the engine searches by the contrastive head alone.
            exact: compare with every moment, where the engine would approximate.
        """

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


# Imported when they are asked for, since they may need a library that is not there.
ENGINES = {
    "exact": "mmn.apps.search.exact_store:ExactEngine",
    "lance": "mmn.apps.search.lance_store:LanceEngine",
    "milvus": "mmn.apps.search.milvus_store:MilvusEngine",
}
DEFAULT_EXACT_MOMENTS = 3_000_000
"""Up to so many moments the exact engine is the default."""


def engine_class(name: str) -> type[Engine]:
    """One of ENGINES. Raises ConfigError for another name, UserError where its library is missing."""
    if name not in ENGINES:
        raise ConfigError(f"there is no engine {name!r}{nearest(name, list(ENGINES))}")
    module, cls = ENGINES[name].split(":")
    return getattr(importlib.import_module(module), cls)


def is_address(place: str) -> bool:
    """Whether a place is a server's address, and no folder."""
    return "://" in place


def default_engine(place: str, num_moments: int) -> str:
    """The engine that a new index gets unless one is asked for."""
    if is_address(place):
        return "milvus"
    return "exact" if num_moments <= DEFAULT_EXACT_MOMENTS else "lance"


def has_index(place: str) -> bool:
    """Whether there is an index at `place`; of an address its engine must say it."""
    if is_address(place):
        return engine_class("milvus").exists(place)
    return os.path.exists(os.path.join(place, INFO_FILE))


def create_engine(place: str, info: IndexInfo, name: str) -> Engine:
    """A new index at `place`, kept by the engine of that name."""
    return engine_class(name).create(place, info)


def open_engine(place: str) -> Engine:
    """The index at `place`, by the engine that keeps it. Raises DataError where there is none."""
    if is_address(place):
        return engine_class("milvus").open(place)
    return engine_class(read_folder_info(place)[0]).open(place)


def write_folder_info(place: str, name: str, info: IndexInfo) -> None:
    """Write INFO_FILE, which says that `place` is an index of the engine `name`."""
    with atomic_path(os.path.join(place, INFO_FILE)) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump({"engine": name, **info.to_dict()}, file, indent=2)


def read_folder_info(place: str) -> tuple[str, IndexInfo]:
    """Engine name and description of the index in a folder. Raises DataError where there is none, or it is damaged."""
    path = os.path.join(place, INFO_FILE)
    if not os.path.exists(path):
        raise DataError(f"there is no index at {place}: correct the place, or build one by tools/build_index.py")
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        name = values.pop("engine")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"the description {path} is damaged ({error!r}): build the index again") from error
    return name, IndexInfo.from_dict(values, place)


def copy_index(source: Engine, target: Engine, batch_size: int = 64) -> Iterator[int]:
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
