"""The embedded store keeps the contract, also where its moments are in groups, beside writers and after their ends."""

import json
import multiprocessing
import os
import shutil
import sys
import time

import numpy as np
import pytest
from index_data import INFO, assert_same_hits, assert_same_video, plain_search, queries, video, videos
from processes import Fork
from vector_store_contract import StoreContract

from mmn.apps.search import lance_store, row_store
from mmn.apps.search.index_types import MomentFilter
from mmn.apps.search.lance_store import LanceStore
from mmn.apps.search.vector_store import create_store, open_store
from mmn.utils.errors import ConfigError, DataError, UserError

pytest.importorskip("lancedb", reason="needs LanceDB")


class TestLanceStore(StoreContract):
    name = "lance"


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "index")


@pytest.fixture
def grouped(place, monkeypatch):
    """An index of 40 videos in groups, and the videos. All groups and rows are looked into: the answers are exact."""
    monkeypatch.setattr(lance_store, "INDEX_FROM", 300)
    monkeypatch.setattr(lance_store, "GROUP_SIZE", 50)
    monkeypatch.setattr(lance_store, "FEW_ROWS", 30)
    monkeypatch.setattr(lance_store, "CANDIDATES", 10_000)
    held = videos(40)
    with create_store(place, INFO, "lance") as store:
        store.put(held)
        store.optimize()
        assert store.num_groups > 5
        yield store, held


def check(store, held, k=7, where=None):
    where = where or MomentFilter()
    assert_same_hits(store.search(queries(), k, where), plain_search(held, queries(), k, where))


@pytest.mark.parametrize(
    "where",
    [
        MomentFilter(),
        MomentFilter(videos=["video3"]),
        MomentFilter(videos=[f"video{number}" for number in range(0, 40, 2)]),
        MomentFilter(min_length=20, max_length=40),
        MomentFilter(min_length=58),
        MomentFilter([f"video{number}" for number in range(20)], 5, 20),
    ],
    ids=["all", "one video", "half of them", "length", "hardly any", "videos and length"],
)
@pytest.mark.parametrize("k", [3, 60, 2000])
def test_groups_find_what_the_plain_search_finds(grouped, where, k):
    check(*grouped, k, where)


def test_prewarming_reads_the_groups_and_changes_no_answer(grouped, monkeypatch):
    store, held = grouped
    prewarmed = []
    read = store._moments.prewarm_index
    monkeypatch.setattr(store._moments, "prewarm_index", lambda name: prewarmed.append(name) or read(name))
    ahead = []
    monkeypatch.setattr(lance_store, "read_ahead", lambda folder: ahead.extend(os.listdir(folder)))
    store.prewarm()
    assert prewarmed == [f"groups_{store.num_groups}"]
    assert ahead and all(name.endswith(".lance") for name in ahead)
    check(store, held)


def test_groups_are_looked_into_and_not_everything(grouped, monkeypatch):
    store, held = grouped
    monkeypatch.setattr(lance_store, "PROBES", 1)
    found = store.search(queries(), 400).counts
    assert (found < sum(len(part.moments) for part in held)).all()
    assert (store.search(queries(), 400, exact=True).counts == 400).all()


def test_videos_that_came_after_the_groups_are_found_before_the_next_optimize(grouped):
    store, held = grouped
    new = videos(10, seed=3, first=100)
    store.put(new)
    check(store, [*held, *new])
    store.remove(["video5", "video100"])
    changed = video("video7", 12, seed=4)
    store.put([changed])
    gone = ("video5", "video7", "video100")
    left = [part for part in [*held, *new] if part.video_id not in gone] + [changed]
    check(store, left)
    store.optimize()
    check(store, left)


def test_groups_are_made_anew_when_the_index_has_outgrown_them(grouped):
    store, held = grouped
    before = store.num_groups
    more = videos(20, seed=5, first=200)
    store.put(more)
    store.optimize()
    assert store.num_groups == before
    many = videos(100, seed=6, first=300)
    store.put(many)
    store.optimize()
    assert store.num_groups >= 3 * before
    check(store, [*held, *more, *many])


def test_rows_of_a_writer_that_was_killed_are_never_found_and_go_with_optimize(place, monkeypatch):
    held = videos(4)
    with create_store(place, INFO, "lance") as store:
        store.put(held)
        monkeypatch.setattr(LanceStore, "_name", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        twin = video("twin", 300, contrastive=np.repeat(queries(1).contrastive, 300, 0).astype(np.float16))
        for part in (twin, video("video1", 9, seed=5)):
            with pytest.raises(KeyboardInterrupt):
                store.put([part])
        monkeypatch.undo()
    with open_store(place) as again:
        assert set(again.videos()) == {part.video_id for part in held}
        check(again, held, 20)
        again.optimize()
        assert again._moments.count_rows() > again.num_moments, "they could be those of a writer that is at it"
        monkeypatch.setattr(row_store, "ABANDONED_SECONDS", -3600)
        again.optimize()
        assert again._moments.count_rows() == again.num_moments
        check(again, held, 20)


def put_in_turns(place, turns, reports):
    lance_store.INDEX_FROM, lance_store.GROUP_SIZE = 10, 10
    with open_store(place) as store:
        for turn in range(turns):
            store.put([video(f"video{number}", 10 + turn % 2, seed=turn % 2) for number in range(3)])
            reports.send(turn)
            if turn % 3 == 2:
                store.optimize()


def start_writer(place, turns):
    """The process, and what tells of each turn that is done."""
    reports, sender = multiprocessing.Pipe(duplex=False)
    return Fork(put_in_turns, place, turns, sender), reports


def assert_whole(store):
    """That each video is one of the two that the writer puts in turns."""
    for number in range(3):
        found = store.read(f"video{number}")
        seed = len(found.moments) - 10
        assert_same_video(found, video(f"video{number}", 10 + seed, seed=seed))


def test_reader_sees_whole_videos_while_a_writer_replaces_them(place):
    create_store(place, INFO, "lance").close()
    writer, reports = start_writer(place, 40)
    reports.recv()
    looks = 0
    with open_store(place) as reader:
        while writer.poll() is None or not looks:
            assert_whole(reader)
            hits = reader.search(queries(), 5)
            assert hits.counts.tolist() == [5] * 5
            reader.refresh()
            looks += 1
    assert writer.wait() == 0


@pytest.mark.parametrize("wait", [0.0, 0.05])
def test_index_is_whole_after_its_writer_was_killed(place, wait):
    """Killed in a put, in `optimize`, or between them."""
    create_store(place, INFO, "lance").close()
    writer, reports = start_writer(place, 1000)
    for _ in range(3):
        reports.recv()
    time.sleep(wait)
    writer.kill()
    writer.wait()
    with open_store(place) as store:
        assert set(store.videos()) == {"video0", "video1", "video2"}
        assert_whole(store)
        store.put(videos(5, first=10))
        store.optimize()
        assert_whole(store)
        assert len(store.videos()) == 8


def test_index_whose_files_are_lost_is_one_sentence(place):
    with create_store(place, INFO, "lance") as store:
        store.put(videos(3))
    shutil.rmtree(os.path.join(place, "moments.lance", "data"))
    with open_store(place) as store, pytest.raises(DataError, match="cannot be read .* build it again"):
        store.search(queries(), 3)
    shutil.rmtree(os.path.join(place, "moments.lance"))
    with pytest.raises(DataError, match="cannot be read .* build it again"):
        open_store(place)


def test_index_of_another_format_is_refused(place):
    create_store(place, INFO, "lance").close()
    path = os.path.join(place, "index.json")
    with open(path) as file:
        values = json.load(file)
    with open(path, "w") as file:
        json.dump({**values, "format": 99}, file)
    with pytest.raises(DataError, match="has format 99"):
        open_store(place)


def test_index_of_another_store_is_refused(place):
    create_store(place, INFO, "exact").close()
    with pytest.raises(ConfigError, match="is kept by the engine exact"):
        LanceStore.open(place)


def test_missing_library_is_one_sentence_that_names_the_extra(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(UserError, match=r"needs LanceDB, which is not installed: pip install \.\[search\]"):
        create_store(place, INFO, "lance")


def test_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        create_store(str(tmp_path / "file" / "index"), INFO, "lance")
