"""Small videos for tests of indexes, and the plain search that every store is compared with."""

import dataclasses

import numpy as np

from mmn.apps.search.index_types import IndexInfo, MomentFilter, VideoMoments
from mmn.structures.query_vectors import HEADS, QueryVectors

DIM = 16
INFO = IndexInfo(DIM, model="0" * 64, model_name="a model", recipe={"backbone": "colours"}, build={"window": None})


def unit_vectors(num_rows, seed, dim=DIM):
    """[num_rows, dim] float32."""
    vectors = np.random.default_rng(seed).standard_normal((num_rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def video(name, num_moments=20, seed=0, dim=DIM, **changes):
    """A video of a minute with random moments and vectors, which `name` and `seed` decide."""
    seed = [seed, *name.encode()]
    moments = np.sort(np.random.default_rng(seed).uniform(0, 60, (num_moments, 2)), axis=1).astype(np.float32)
    contrastive, iou = (unit_vectors(num_moments, [*seed, head], dim).astype(np.float16) for head in range(2))
    made = VideoMoments(name, 60.0, moments, contrastive, iou, source=f"{name} {seed}", path=f"videos/{name}.mp4")
    return dataclasses.replace(made, **changes)


def videos(num_videos, seed=0, first=0):
    """Videos of one to thirty moments."""
    numbers = np.random.default_rng(seed).integers(1, 31, num_videos).tolist()
    return [video(f"video{first + number}", count, seed) for number, count in enumerate(numbers)]


def queries(num_queries=5, seed=100, dim=DIM):
    return QueryVectors(unit_vectors(num_queries, seed, dim), unit_vectors(num_queries, seed + 1, dim))


def plain_search(held, asked, k, where=None, head="contrastive"):
    """What an index of the videos `held` answers: per query a list of (video, moment, cosines by head), best first.

    Of equal cosines the first moment of the first video comes first.
    """
    where = where or MomentFilter()
    rows = [
        (part.video_id, part.moments[row], {name: part.vectors(name)[row].astype(np.float64) for name in HEADS})
        for part in held
        if where.videos is None or part.video_id in where.videos
        for row in np.flatnonzero(where.passes(part.moments))
    ]
    answers = []
    for number in range(len(asked)):
        found = [
            (name, moment, {each: float(vectors[each] @ asked.vectors(each)[number]) for each in HEADS})
            for name, moment, vectors in rows
        ]
        answers.append(sorted(found, key=lambda hit: -hit[2][head])[:k])
    return answers


def assert_same_hits(hits, answers):
    """That `Hits` say what `plain_search` does, and are empty behind it."""
    k = hits.videos.shape[1]
    assert hits.counts.tolist() == [len(answer) for answer in answers]
    for number, answer in enumerate(answers):
        count = len(answer)
        assert hits.videos[number].tolist() == [name for name, *_ in answer] + [""] * (k - count)
        moments = np.array([moment for _, moment, _ in answer]).reshape(count, 2)
        np.testing.assert_array_equal(hits.moments[number, :count], moments)
        assert not hits.moments[number, count:].any()
        for head in HEADS:
            wanted = [cosines[head] for *_, cosines in answer] + [-1.0] * (k - count)
            np.testing.assert_allclose(hits.cosines(head)[number], wanted, atol=2e-6)


def assert_same_video(found, wanted):
    assert (found.video_id, found.duration, found.source, found.path) == (
        wanted.video_id,
        wanted.duration,
        wanted.source,
        wanted.path,
    )
    for name in ("moments", *HEADS):
        array = getattr(found, name)
        assert array.dtype == getattr(wanted, name).dtype
        np.testing.assert_array_equal(array, getattr(wanted, name))
