"""Synthetic libraries for measuring large indexes, and the measurements themselves on small ones."""

import argparse

import numpy as np
import pytest

from mmn.apps.benchmark import search_scale
from mmn.apps.benchmark.moment_vectors import NUM_CLIPS, QUERY_COSINE, SyntheticLibrary, in_batches


@pytest.fixture(scope="module")
def library():
    return SyntheticLibrary(width=64, num_heads=2)


def test_library_has_as_many_moments_as_were_asked_for(library):
    videos = list(library.videos(3000))
    assert sum(len(video.moments) for video in videos) == 3000
    assert [video.number for video in videos] == list(range(len(videos)))
    assert all(video.vectors.shape == (2, len(video.moments), 64) for video in videos)


def test_video_is_the_same_whenever_it_is_made(library):
    again = SyntheticLibrary(width=64, num_heads=2)
    again.video(1)
    for part in ("moments", "vectors"):
        np.testing.assert_array_equal(getattr(library.video(4), part), getattr(again.video(4), part))
    first_head = SyntheticLibrary(width=64).video(4).vectors[0]
    np.testing.assert_array_equal(first_head, library.video(4).vectors[0])


def test_video_has_all_moments_of_its_clips(library):
    video = library.video(2)
    num_clips = round((np.sqrt(8 * len(video.moments) + 1) - 1) / 2)
    assert NUM_CLIPS[0] <= num_clips <= NUM_CLIPS[1]
    assert len(np.unique(video.moments, axis=0)) == num_clips * (num_clips + 1) / 2
    assert (video.moments[:, 0] < video.moments[:, 1]).all()


def test_moments_that_overlap_are_nearer_than_others_of_the_video_and_those_nearer_than_other_videos(library):
    video, other = library.video(0), library.video(1)
    cosines = video.vectors[0].astype(np.float32) @ video.vectors[0].astype(np.float32).T
    start, end = video.moments[:, :1], video.moments[:, 1:]
    overlap = (np.minimum(end, end.T) - np.maximum(start, start.T)) / (
        np.maximum(end, end.T) - np.minimum(start, start.T)
    )
    among_near = cosines[(overlap > 0.8) & (overlap < 1)].mean()
    among_far = cosines[overlap < 0].mean()
    across = (video.vectors[0].astype(np.float32) @ other.vectors[0].astype(np.float32).T).mean()
    assert among_near > among_far > across + 0.2


def test_query_is_as_far_from_its_moment_as_is_said(library):
    queries = library.queries(20, num_videos=5)
    vectors = np.concatenate([library.video(number).vectors[0] for number in range(5)]).astype(np.float32)
    best = (queries @ vectors.T).max(axis=1)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    assert (best > QUERY_COSINE[0] - 0.02).all()
    assert (best < QUERY_COSINE[1] + 0.1).all()


def test_batches_hold_all_videos_in_order_and_enough_moments(library):
    batches = list(in_batches(library.videos(6000), 1500))
    counts = [sum(len(video.moments) for video in batch) for batch in batches]
    assert [video.number for batch in batches for video in batch] == list(range(sum(map(len, batches))))
    assert sum(counts) == 6000 and len(counts) > 2 and min(counts[:-1]) >= 1500


def test_nearest_cosines_are_those_of_a_sort():
    library = SyntheticLibrary(width=16)
    videos, queries = list(library.videos(25_000)), library.queries(3, 10)
    found = search_scale.nearest_cosines(queries, iter(videos), 12)
    cosines = {video.number: queries @ video.vectors[0].astype(np.float32).T for video in videos}
    is_long = {video.number: np.diff(video.moments)[:, 0] >= search_scale.MIN_LENGTH for video in videos}
    wanted = {
        "all": cosines.values(),
        "videos": [cosines[number] for number in range(search_scale.NUM_FILTER_VIDEOS)],
        "length": [cosines[number][:, is_long[number]] for number in cosines],
    }
    for name, parts in wanted.items():
        np.testing.assert_allclose(found[name], -np.sort(-np.concatenate(list(parts), axis=1))[:, :12], atol=1e-6)


def test_scale_run_on_a_small_library_finds_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(search_scale, "NUM_QUERIES", 60)
    args = argparse.Namespace(place=str(tmp_path / "index"), vectors=15_000, engine="exact")
    built = search_scale.build(args)
    assert (built["moments"], built["disk GB"] > 0) == (15_000, True)
    search_scale.truth(args)
    found = search_scale.search(args)
    assert [found[name]["recall"] for name in found if name.startswith("k=")] == [1.0] * 5
    assert search_scale.change(args)["found at once"] == 1.0
