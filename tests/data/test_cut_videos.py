"""Videos of hours cut into windows, against a plain count, and the features of these."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmn.data.annotations import VideoAnnotation
from mmn.data.cut_videos import CutTracks, cut_videos, num_never_inside
from mmn.data.features import resample_clips


@st.composite
def long_videos(draw):
    videos = []
    for number in range(draw(st.integers(1, 3))):
        duration = draw(st.floats(5, 200).map(lambda value: round(value, 1)))
        moments = []
        for _ in range(draw(st.integers(0, 5))):
            start = draw(st.floats(0, 0.9)) * duration
            moments.append(np.array([[start, min(duration, start + draw(st.floats(0.1, 60)))]]))
        videos.append(VideoAnnotation(f"v{number}", duration, [f"s{k}" for k in range(len(moments))], moments))
    return videos


@settings(max_examples=60, deadline=None)
@given(long_videos(), st.sampled_from([10.0, 25.6, 300.0]))
def test_moments_of_up_to_half_a_window_are_kept_where_they_were(videos, seconds):
    cut, windows = cut_videos(videos, seconds)
    found = {}
    for annotation in cut:
        window = windows[annotation.video_id]
        assert annotation.duration <= seconds and annotation.sentences
        for sentence, (moment,) in zip(annotation.sentences, annotation.windows, strict=True):
            assert 0 <= moment[0] < moment[1] <= annotation.duration
            found.setdefault((window.rows_id, sentence), []).append(moment + window.start)
    lost = 0
    for video in videos:
        for sentence, (moment,) in zip(video.sentences, video.windows, strict=True):
            places = found.get((video.video_id, sentence), [])
            lost += not places
            for place in places:
                np.testing.assert_allclose(place, moment, atol=1e-6)
            if moment[1] - moment[0] <= min(seconds, video.duration) / 2 or video.duration <= seconds:
                assert places
    assert num_never_inside(videos, seconds) == lost


@pytest.mark.parametrize("duration", [64.004, 64 + 1e-12, 64.0])
def test_last_window_has_a_name_of_its_own(duration):
    cut, windows = cut_videos([VideoAnnotation("v", duration, ["s"], [np.array([[40.0, 50.0]])])], 32.0)
    assert [video.video_id for video in cut] == list(windows) == ["v@32.00-64.00"]


def test_first_moment_of_a_video_hardly_longer_than_a_window_is_kept():
    cut, _ = cut_videos([VideoAnnotation("v", 32.004, ["s"], [np.array([[0.0, 5.0]])])], 32.0)
    assert len(cut) == 1


class Rows:
    """Numbered rows of one video, five a second."""

    def read(self, video_id):
        return np.stack([np.arange(1000.0), np.ones(1000)], axis=1).astype(np.float32)

    def resample(self, rows, num_clips):
        return resample_clips(rows, num_clips)


def test_clips_of_a_window_are_those_of_its_rows():
    annotation = VideoAnnotation("film", 200.0, ["a", "b"], [np.array([[1.0, 9.0]]), np.array([[181.0, 195.0]])])
    cut, windows = cut_videos([annotation], 20.0)
    features = Rows()
    tracks = CutTracks(features, windows)
    assert [window.video_id for window in cut] == ["film@0.00-20.00", "film@180.00-200.00"]
    for window in cut:
        first = round(windows[window.video_id].start * 5)
        wanted = resample_clips(features.read("film")[first : first + 100], 8)
        np.testing.assert_array_equal(tracks.clips(window.video_id, 8), wanted)
