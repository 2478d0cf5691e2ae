"""Videos of hours cut into windows, against a plain count, and the features of these."""

import numpy as np
import pytest
import yaml
from feature_files import FORMATS, track_of, write_features
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_config

from mmn.data.annotations import VideoAnnotation
from mmn.data.cut_videos import CutTracks, cut_videos, num_never_inside
from mmn.data.feature_tracks import FeatureTracks, build_reader
from mmn.data.features import FeatureReader, resample_clips
from mmn.data.moment_files import check_files, split_problems
from mmn.data.splits import Splits
from mmn.utils.errors import DataError


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


def test_window_has_the_moments_of_a_sentence_that_lie_in_it():
    first, second = np.array([[1.0, 4.0], [70.0, 75.0], [12.0, 20.0]]), np.array([[71.0, 75.5]])
    cut, windows = cut_videos([VideoAnnotation("v", 80.0, ["a", "b"], [first, second])], 32.0)
    found = {
        video.video_id: [
            (sentence, (moments + windows[video.video_id].start).tolist())
            for sentence, moments in zip(video.sentences, video.windows, strict=True)
        ]
        for video in cut
    }
    assert found == {
        "v@0.00-32.00": [("a", [[1.0, 4.0], [12.0, 20.0]])],
        "v@48.00-80.00": [("a", [[70.0, 75.0]]), ("b", [[71.0, 75.5]])],
    }


@pytest.fixture
def film(tmp_path):
    """(kind -> its tracks, of which one is short; joined rows, annotation) of a video of five rows a second."""
    generator = np.random.default_rng(0)
    parts = [generator.standard_normal((1000, 3)).astype(np.float32), generator.standard_normal((997, 2))]

    def tracks(kind):
        readers = []
        for number, rows in enumerate(parts):
            write_features(kind, tmp_path / f"{kind}{number}", {"film": rows})
            readers.append(build_reader(track_of(kind, tmp_path / f"{kind}{number}"), rows.shape[1]))
        return FeatureTracks(readers)

    moments = [np.array([[1.0, 9.0]]), np.array([[181.0, 195.0]])]
    joined = np.concatenate([parts[0][:997], parts[1].astype(np.float32)], axis=1)
    return tracks, joined, VideoAnnotation("film", 200.0, ["a", "b"], moments)


@pytest.mark.parametrize("kind", FORMATS)
def test_clips_of_a_window_are_those_of_its_rows(film, kind):
    make_tracks, rows, annotation = film
    cut, windows = cut_videos([annotation], 20.0)
    tracks = CutTracks(make_tracks(kind), windows)
    assert [window.video_id for window in cut] == ["film@0.00-20.00", "film@180.00-200.00"]
    for window, place in zip(cut, (slice(0, 100), slice(897, 997)), strict=True):
        wanted = resample_clips(rows[place], 8, widths=[3, 2])
        np.testing.assert_array_equal(tracks.clips(window.video_id, 8), wanted)


@pytest.mark.parametrize("kind", ["hdf5", "npy"])
def test_no_other_rows_than_those_of_a_window_are_read(film, kind, monkeypatch):
    make_tracks, _, annotation = film
    cut, windows = cut_videos([annotation], 20.0)
    tracks, counts = CutTracks(make_tracks(kind), windows), []
    checked = FeatureReader.checked
    monkeypatch.setattr(FeatureReader, "checked", lambda *args: counts.append(len(args[1])) or checked(*args))
    for window in reversed(cut):
        tracks.clips(window.video_id, 8)
    assert counts == [100] * 4


def test_split_whose_cut_leaves_nothing_is_refused_where_its_files_are_checked(dataset_root, tmp_path):
    entry = {"annotation": "synthetic/test.json", "features": "synthetic/features.hdf5", "window_seconds": 0.01}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump({"cut": entry}))
    cfg = tiny_config(dataset_root, tmp_path, "PATHS_CATALOG", str(tmp_path / "catalog.yaml"))
    split = Splits(cfg).find("cut")
    with pytest.raises(DataError, match="no sentence of the split cut has a moment in a window of 0.01 s"):
        check_files(cfg, split)
    assert any("a window of 0.01 s" in problem for problem in split_problems(cfg, split))
