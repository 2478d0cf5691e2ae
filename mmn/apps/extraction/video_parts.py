"""The feature rows of a long video in parts, each made by itself, so that a stopped extraction goes on with the next one.

Every part is read from its own place in the file, with the frames around it that its outermost rows see. So a part is the
same whether those before it were made in this run or in an earlier one.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.video.decode import Frame
from mmn.structures.recipe import FeatureRecipe

PART_SECONDS = 300.0
OnFrame = Callable[[Frame], None]


def rows_per_part(recipe: FeatureRecipe) -> int:
    """Rows of every part but the last one. A recipe that takes every frame of a file is taken to have 30 a second."""
    return max(1, round(PART_SECONDS * (recipe.fps or 30.0) / recipe.stride))


def can_begin_at(recipe: FeatureRecipe) -> bool:
    """Tell whether a part can be made without those before it: where frames are counted in the file, it cannot."""
    return recipe.fps is not None


def video_parts(extractor: FeatureExtractor, path: str, first: int, on_frame: OnFrame) -> Iterator[np.ndarray]:
    """The parts of a video from number `first` on, [b, D] float32 each; the last one alone may be shorter.

    Args:
        first: 0 where not `can_begin_at`.
        on_frame: called with every frame that is read.
    Raises DataError where the video cannot be decoded.
    """
    size = rows_per_part(extractor.recipe)
    if not can_begin_at(extractor.recipe):
        yield from _even_parts(extractor.encode(told(extractor.frames(path), on_frame), path), size)
        return
    for number in itertools.count(first):
        rows = _part(extractor, path, number * size, size, on_frame)
        if len(rows):
            yield rows
        if len(rows) < size:
            return


def _part(extractor: FeatureExtractor, path: str, first: int, count: int, on_frame: OnFrame) -> np.ndarray:
    """Rows `first` to `first + count` of a video, fewer where it ends before; none beyond its end."""
    recipe = extractor.recipe
    before = (recipe.clip_length - recipe.stride) // 2  # frames that a row sees before its own
    start = max(0, first - max(0, -(-before // recipe.stride)))  # the row to begin with
    last_frame = (first + count - 1) * recipe.stride - before + recipe.clip_length
    frames = extractor.frames(path, start * recipe.stride / recipe.fps)
    frames = itertools.islice(frames, last_frame - start * recipe.stride)
    opening = list(itertools.islice(frames, 1))
    if not opening:
        return np.zeros((0, 0), np.float32)
    rows = np.concatenate(list(extractor.encode(told(itertools.chain(opening, frames), on_frame), path)))
    return rows[first - start :][:count]


def told(frames: Iterator[Frame], on_frame: OnFrame) -> Iterator[Frame]:
    """The frames, each told of after it was used."""
    for frame in frames:
        on_frame(frame)
        yield frame


def _even_parts(rows: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Arrays [b, D] of any sizes -> of `size` rows each, the last one of what is left."""
    held: list[np.ndarray] = []
    for part in rows:
        held.append(part)
        while sum(map(len, held)) >= size:
            joined = np.concatenate(held)
            yield joined[:size]
            held = [joined[size:]]
    if sum(map(len, held)):
        yield np.concatenate(held)
