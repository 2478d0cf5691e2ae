"""What every store of an index must do, whichever library keeps it.

A test module of a store takes the tests in by a subclass of its own:

    class TestExactStore(StoreContract):
        name = "exact"
"""

import dataclasses
import json

import numpy as np
import pytest
from index_data import (
    DIM,
    INFO,
    assert_same_hits,
    assert_same_video,
    plain_search,
    queries,
    unit_vectors,
    video,
    videos,
)

from mmn.apps.search.index_types import MomentFilter
from mmn.apps.search.vector_store import copy_index, create_store, open_store
from mmn.structures.query_vectors import HEADS, QueryVectors
from mmn.utils.errors import ConfigError, DataError


class StoreContract:
    """Tests of the store `name`.

    Attributes:
        heads: by which it searches.
        options: of `search`, e.g. {"exact": True} where a store would approximate on this little data.
    """

    name: str
    heads = HEADS
    options: dict = {}

    @pytest.fixture
    def place(self, tmp_path):
        """Where a new index can be made: a folder, or an address."""
        return str(tmp_path / "index")

    @pytest.fixture
    def other_place(self, tmp_path):
        return str(tmp_path / "other_index")

    @pytest.fixture
    def store(self, place):
        with create_store(place, INFO, self.name) as store:
            yield store

    def search(self, store, asked, k=7, where=None, head="contrastive"):
        return store.search(asked, k, where or MomentFilter(), head, **self.options)

    def check(self, store, held, k=7, where=None):
        """That the store answers as the videos `held` do, by each of its heads."""
        for head in self.heads:
            hits = self.search(store, queries(), k, where, head)
            assert_same_hits(hits, plain_search(held, queries(), k, where, head))

    # ---- Being there ----

    def test_new_index_has_no_videos_and_finds_nothing(self, store):
        assert store.info == INFO
        assert (dict(store.videos()), store.num_moments) == ({}, 0)
        hits = self.search(store, queries(), 3)
        assert hits.counts.tolist() == [0] * 5
        assert hits.videos.shape == (5, 3)

    def test_making_an_index_where_one_is_is_refused(self, store, place):
        with pytest.raises(ConfigError, match="there is an index at .* already"):
            create_store(place, INFO, self.name)

    def test_opening_an_index_that_is_not_there_is_refused(self, place):
        with pytest.raises(DataError, match="no index"):
            open_store(place)

    def test_reopened_index_holds_what_was_put(self, store, place):
        held = videos(6)
        store.put(held)
        store.close()
        with open_store(place) as again:
            assert (again.name, again.info) == (self.name, INFO)
            assert dict(again.videos()) == {part.video_id: part.entry for part in held}
            self.check(again, held)

    def test_description_is_replaced(self, store, place):
        calibrated = INFO.with_calibration({"contrastive": [0.1, 0.2], "words": "is ähnlich"})
        store.write_info(calibrated)
        assert store.info == calibrated
        with open_store(place) as again:
            assert again.info == calibrated
            json.dumps(again.info.to_dict())

    # ---- Videos ----

    def test_videos_read_are_those_that_were_put(self, store):
        held = videos(5)
        store.put(held[:2])
        store.put(held[2:])
        assert dict(store.videos()) == {part.video_id: part.entry for part in held}
        assert store.num_moments == sum(len(part.moments) for part in held)
        for part in held:
            assert_same_video(store.read(part.video_id), part)

    def test_putting_nothing_changes_nothing(self, store):
        store.put([])
        assert not store.videos()

    @pytest.mark.parametrize("name", ["öl/grün 1.mp4", "a'b\"c", "x" * 200, "line\nbreak", "%s{vid}", "日本"])
    def test_any_text_names_a_video(self, store, name):
        store.put([video(name), video("other")])
        assert_same_video(store.read(name), video(name))
        self.check(store, [video(name)], where=MomentFilter(videos=[name]))
        store.remove([name])
        assert list(store.videos()) == ["other"]

    def test_replaced_video_is_the_new_one_alone(self, store):
        held = videos(4)
        store.put(held)
        new = video("video1", 9, seed=5, duration=61.0, source="changed", path="elsewhere")
        store.put([new])
        assert_same_video(store.read("video1"), new)
        self.check(store, [held[0], *held[2:], new], k=200)

    def test_removed_videos_are_not_found_again(self, store):
        held = videos(6)
        store.put(held)
        store.remove(["video0", "video4"])
        left = [held[number] for number in (1, 2, 3, 5)]
        assert set(store.videos()) == {part.video_id for part in left}
        self.check(store, left, k=200)

    def test_removed_video_can_be_put_again(self, store):
        store.put(videos(3))
        store.remove(["video1"])
        store.put([video("video1", 4)])
        assert_same_video(store.read("video1"), video("video1", 4))

    def test_removing_an_unknown_video_is_refused_and_removes_none(self, store):
        store.put(videos(3))
        with pytest.raises(ConfigError, match="no video 'video7'.*did you mean 'video"):
            store.remove(["video0", "video7"])
        assert len(store.videos()) == 3

    def test_reading_an_unknown_video_is_refused(self, store):
        with pytest.raises(ConfigError, match="no video 'video0': it has no video at all"):
            store.read("video0")

    def test_vectors_of_another_width_are_refused(self, store):
        with pytest.raises(ConfigError, match=f"width {DIM // 2}, but the index .* holds {DIM}"):
            store.put([video("good"), video("bad", dim=DIM // 2)])
        assert not store.videos()

    def test_optimizing_changes_nothing_that_is_found(self, store, place):
        held = videos(12)
        for number in range(0, 12, 3):
            store.put(held[number : number + 3])
        store.remove(["video2"])
        store.put([video("video5", 6, seed=9)])
        left = [part for part in held if part.video_id not in ("video2", "video5")] + [video("video5", 6, seed=9)]
        store.optimize()
        self.check(store, left, k=300)
        with open_store(place) as again:
            self.check(again, left, k=300)
            for part in left:
                assert_same_video(again.read(part.video_id), part)

    # ---- Several handles ----

    def test_reader_sees_what_a_writer_wrote_when_it_looks_again(self, store, place):
        held = videos(6)
        store.put(held[:3])
        with open_store(place) as reader:
            store.put(held[3:])
            store.remove(["video0"])
            store.write_info(INFO.with_calibration({"a": 1}))
            reader.refresh()
            assert dict(reader.videos()) == {part.video_id: part.entry for part in held[1:]}
            assert reader.info.calibration == {"a": 1}
            self.check(reader, held[1:], k=200)

    def test_reader_stays_able_to_search_while_a_writer_optimizes(self, store, place):
        held = videos(6)
        for part in held:
            store.put([part])
        with open_store(place) as reader:
            store.optimize()
            self.check(reader, held)
            reader.refresh()
            self.check(reader, held)

    # ---- Searching ----

    @pytest.mark.parametrize("k", [1, 7, 1000])
    def test_hits_are_those_of_the_plain_search(self, store, k):
        held = videos(8)
        store.put(held)
        self.check(store, held, k)

    def test_query_alone_finds_what_it_finds_among_others(self, store):
        store.put(videos(8))
        asked = queries(4)
        together = self.search(store, asked)
        for number in range(4):
            one = QueryVectors(asked.contrastive[number : number + 1], asked.iou[number : number + 1])
            alone = self.search(store, one)
            assert alone.videos.tolist() == together.videos[number : number + 1].tolist()
            np.testing.assert_allclose(alone.contrastive[0], together.contrastive[number], atol=1e-6)

    def test_moment_itself_is_found_first(self, store):
        held = videos(8)
        store.put(held)
        example = held[3]
        asked = QueryVectors(example.contrastive[:2].astype(np.float32), example.iou[:2].astype(np.float32))
        hits = self.search(store, asked, 1)
        assert hits.videos[:, 0].tolist() == [example.video_id] * 2
        np.testing.assert_array_equal(hits.moments[:, 0], example.moments[:2])
        np.testing.assert_allclose(hits.contrastive[:, 0], 1, atol=1e-3)

    @pytest.mark.parametrize(
        "where",
        [
            MomentFilter(videos=["video2"]),
            MomentFilter(videos={"video1", "video6", "video7"}),
            MomentFilter(min_length=20),
            MomentFilter(max_length=5.5),
            MomentFilter(["video0", "video3", "video5"], 4, 25),
            MomentFilter(min_length=59.9),
        ],
        ids=["one", "some", "long", "short", "both", "hardly any"],
    )
    @pytest.mark.parametrize("k", [4, 500])
    def test_moments_that_do_not_pass_are_not_found(self, store, where, k):
        held = videos(8)
        store.put(held)
        self.check(store, held, k, where)

    def test_bounds_of_length_are_inclusive(self, store):
        moments = np.array([[0, 2], [1, 5], [3, 11]], np.float32)
        part = video("video", 3, moments=moments)
        store.put([part])
        hits = self.search(store, queries(1), 9, MomentFilter(min_length=2, max_length=4))
        assert sorted(hits.moments[0, : hits.counts[0]].tolist()) == [[0, 2], [1, 5]]

    def test_filter_by_an_unknown_video_is_refused(self, store):
        store.put(videos(3))
        with pytest.raises(ConfigError, match="no video 'vido1'.*did you mean 'video1'"):
            self.search(store, queries(), 3, MomentFilter(videos=["vido1"]))

    def test_search_by_a_head_that_is_not_there_is_refused(self, store):
        store.put(videos(3))
        with pytest.raises(ConfigError, match="head"):
            self.search(store, queries(), 3, head="neither")

    def test_equal_moments_are_all_found(self, store):
        vectors = np.repeat(unit_vectors(1, 3), 6, 0).astype(np.float16)
        twins = [video(f"twin{number}", 6, contrastive=vectors, iou=vectors) for number in range(5)]
        store.put(twins)
        hits = self.search(store, queries(1), 30)
        found = [(name, *moment) for name, moment in zip(hits.videos[0], hits.moments[0].tolist(), strict=True)]
        assert sorted(found) == sorted((part.video_id, *moment) for part in twins for moment in part.moments.tolist())

    # ---- Copies ----

    def test_copy_holds_the_same_and_a_second_one_copies_what_is_new(self, store, other_place):
        held = videos(7)
        store.put(held)
        with create_store(other_place, INFO, self.name) as target:
            assert list(copy_index(store, target, batch_size=3)) == [3, 6, 7]
            assert dict(target.videos()) == dict(store.videos())
            self.check(target, held)
            store.put([video("video2", 5, seed=8)])
            assert list(copy_index(store, target)) == [1]
            assert_same_video(target.read("video2"), video("video2", 5, seed=8))

    def test_copy_to_an_index_of_another_model_is_refused(self, store, other_place):
        other = dataclasses.replace(INFO, model="1" * 64, model_name="another model")
        with create_store(other_place, other, self.name) as target, pytest.raises(ConfigError, match="another model"):
            list(copy_index(store, target))
