"""Changes of an index that need no model: taking videos out, and copying it to another place."""

import os
from collections.abc import Sequence

from mmn.apps.search.vector_store import copy_index, default_store, ensure_store, has_index, open_store
from mmn.utils.errors import ConfigError
from mmn.utils.logger import get_logger


def remove_videos(place: str, video_ids: Sequence[str]) -> None:
    """Take videos out of an index. Raises ConfigError where it lacks one, and removes none then."""
    with open_store(place) as index:
        index.remove(video_ids)
        get_logger().info("%s: %d videos removed, %d left", place, len(set(video_ids)), len(index.videos()))


def convert_index(source: str, place: str, engine: str = "auto") -> None:
    """Copy an index to another place, where another store may keep it; the same call again copies what is new.

    Raises ConfigError where the two are of different models or kept by another store than the one asked for.
    """
    if os.path.abspath(source) == os.path.abspath(place):
        raise ConfigError(f"the index {source} is to be copied to itself: choose another place")
    with open_store(source) as original:
        if not has_index(place):
            name = default_store(place, original.num_moments) if engine == "auto" else engine
            ensure_store(place, original.info, name)
        with open_store(place) as target:
            if engine not in ("auto", target.name):
                raise ConfigError(
                    f"the index {place} is kept by the engine {target.name}: leave out --engine {engine}, or choose "
                    "another place"
                )
            num_copied = 0
            for num_copied in copy_index(original, target):
                get_logger().info("%d of %d videos copied", num_copied, len(original.videos()))
            get_logger().info("%s: %d videos, %d of them new", place, len(target.videos()), num_copied)
