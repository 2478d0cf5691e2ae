"""The rows of a long video in parts, against those of one pass."""

import tracemalloc

import numpy as np
import pytest
from localizing import RECIPE
from small_videos import write_plain_video

from mmn.apps.extraction import video_parts as parts_module
from mmn.apps.extraction.extractor import FeatureExtractor, windows
from mmn.apps.extraction.video_parts import rows_per_part, video_parts
from mmn.apps.video.decode import Frame, iter_frames

NUM_FRAMES, RATE = 67, 10


@pytest.fixture(scope="module")
def video_file(tmp_path_factory):
    return str(write_plain_video(tmp_path_factory.mktemp("videos") / "colours.mp4", num_frames=NUM_FRAMES, fps=RATE))


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(parts_module, "PART_SECONDS", 2.0)


class MeanColours:
    """A row per stride: the mean colours of all frames of its clip, one after the other."""

    def __init__(self, fps, clip_length, stride):
        self.recipe = RECIPE.__class__(**{**RECIPE.to_dict(), "fps": fps, "clip_length": clip_length, "stride": stride})

    def frames(self, path, start=0.0):
        return iter_frames(path, self.recipe.fps, start)

    def encode(self, frames, where):
        colours = (frame.image.reshape(-1, 3).mean(axis=0) for frame in frames)
        for clip in windows(colours, self.recipe.clip_length, self.recipe.stride):
            yield np.concatenate(clip).astype(np.float32)[None]


@pytest.mark.parametrize("fps", [5.0, 10.0, 4.0, None])
@pytest.mark.parametrize("clip_length, stride", [(1, 1), (4, 2), (2, 4), (9, 3), (3, 3)])
def test_parts_are_the_rows_of_one_pass(video_file, fps, clip_length, stride):
    extractor = MeanColours(fps, clip_length, stride)
    whole = np.concatenate(list(extractor.encode(extractor.frames(video_file), "")))
    parts = list(video_parts(extractor, video_file, 0, lambda frame: None))
    assert [len(part) for part in parts[:-1]] == [rows_per_part(extractor.recipe)] * (len(parts) - 1)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_parts_from_a_later_one_on_do_not_read_what_is_before(video_file, first):
    extractor, times = MeanColours(10.0, 4, 2), []
    parts = list(video_parts(extractor, video_file, 0, lambda frame: None))
    later = list(video_parts(extractor, video_file, first, lambda frame: times.append(frame.time)))
    assert len(later) == len(parts) - first
    for one, other in zip(later, parts[first:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert min(times) >= 2.0 * first - 0.4  # a row and the frames that it sees


def test_video_that_ends_with_a_part_has_no_empty_one(tmp_path):
    path = str(write_plain_video(tmp_path / "even.mp4", num_frames=40, fps=10))
    parts = list(video_parts(MeanColours(10.0, 1, 1), path, 0, lambda frame: None))
    assert [len(part) for part in parts] == [20, 20]


def test_memory_does_not_grow_with_the_number_of_parts():
    def peak(num_parts):
        extractor = FeatureExtractor.__new__(FeatureExtractor)
        extractor.recipe = MeanColours(100.0, 1, 1).recipe
        extractor.frames = lambda path, start=0.0: (
            Frame(number / 100, None) for number in range(round(start * 100), num_parts * 200)
        )
        extractor.encode = lambda frames, where: (np.full((1, 5000), frame.time, np.float32) for frame in frames)
        tracemalloc.start()
        count = sum(len(part) for part in video_parts(extractor, "", 0, lambda frame: None))
        assert count == num_parts * 200
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(8) < 1.2 * peak(2)
