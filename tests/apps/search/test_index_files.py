"""The exact store's files: writers that are killed, several at once, readers beside them, damage."""

import functools
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import traceback

import numpy as np
import pytest
import torch
from index_data import INFO, assert_same_hits, assert_same_video, plain_search, queries, video, videos
from processes import Fork

from mmn.apps.search import exact_store
from mmn.apps.search.exact_segments import SegmentWriter
from mmn.apps.search.index_types import MomentFilter
from mmn.apps.search.vector_store import create_store, open_store
from mmn.structures.query_vectors import HEADS
from mmn.utils.errors import ConfigError, DataError, UserError
from mmn.utils.files import file_lock

FILES = ("/mmn/apps/search/", "/mmn/utils/files.py")
INTERRUPTED = 130
STRIDE = 37  # lines from one kill to the next; every line takes a minute


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "index")


@pytest.fixture
def store(place):
    return create_store(place, INFO, "exact")


def segments(place):
    return set(os.listdir(os.path.join(place, "segments")))


def check(store, held):
    """That the index holds exactly these videos, in this order, and finds what is in them."""
    assert list(store.videos()) == [part.video_id for part in held]
    for part in held:
        assert_same_video(store.read(part.video_id), part)
    assert_same_hits(store.search(queries(2), 5), plain_search(held, queries(2), 5))


# ---- Killed writers ----------------------------------------------------------------------------------------------------

STEPS = (
    ("put", [video("a", 5), video("b", 3)]),
    ("put", [video("b", 4, seed=1)]),
    ("remove", ["a"]),
    ("put", [video("c", 2), video("d", 6)]),
    ("optimize", None),
    ("put", [video("c", 3, seed=2)]),
    ("optimize", None),
)


def states():
    """The videos after none, one, two, ... of the steps."""
    held = {}
    yield []
    for name, argument in STEPS:
        for part in argument or () if name == "put" else ():
            held.pop(part.video_id, None)
            held[part.video_id] = part
        for video_id in argument or () if name == "remove" else ():
            del held[video_id]
        yield list(held.values())


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt():
    raise KeyboardInterrupt


def write(place, done, end, end_after):
    """All steps, in a process that is ended when it comes to the line `end_after` of our files."""
    count = 0

    def on_line(frame, event, argument):
        nonlocal count
        count += event == "line"
        if count == end_after:
            sys.settrace(None)
            end()
        return on_line

    store = open_store(place)
    sys.settrace(lambda frame, *_: on_line if any(part in frame.f_code.co_filename for part in FILES) else None)
    for name, argument in STEPS:
        getattr(store, name)(*([] if argument is None else [argument]))
        os.write(done, b".")


def in_a_fork(function):
    """Run in a process of its own; returns its exit code, negative where it was killed."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        function()
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def test_end_at_any_line_leaves_an_index_of_before_or_after_the_step(store, place, tmp_path):
    """In a process of its own, which is small: a fork of pytest's takes long once it holds what a whole suite loads."""
    store.close()
    process = Fork(tell, tmp_path / "failure.txt", end_at_any_line, place, str(tmp_path / "empty"))
    assert process.wait(60) == 0
    assert (tmp_path / "failure.txt").read_text() == ""


def tell(path, function, *args):
    """Call, and write the traceback of a failure."""
    path.write_text("")
    try:
        function(*args)
    except Exception:
        path.write_text(traceback.format_exc())


def end_at_any_line(place, empty):
    os.fsync = lambda handle: None  # a kill loses nothing that the system has, and disks are slow
    shutil.copytree(place, empty)
    wanted, end_after, ended, ends = list(states()), 1, None, itertools.cycle([kill, interrupt])
    while ended != 0:
        end = next(ends)
        shutil.rmtree(place)
        shutil.copytree(empty, place)
        read_end, write_end = os.pipe()
        ended = in_a_fork(functools.partial(write, place, write_end, end, end_after))
        os.close(write_end)
        num_done = len(os.read(read_end, len(STEPS)))
        os.close(read_end)
        assert ended in (0, -signal.SIGKILL, INTERRUPTED)
        with open_store(place) as found:
            names = [part.entry for part in wanted[num_done]]
            step = num_done if list(found.videos().values()) == names else num_done + 1
            check(found, wanted[step])
            found.put([video("last", 2)])
            check(found, [*wanted[step], video("last", 2)])
            assert segments(place) == {location.segment for location in found._journal.videos.locations.values()}
        end_after += STRIDE
    assert end_after > 50 * STRIDE


def test_every_torn_end_of_the_journal_is_a_change_that_did_not_happen(store, place):
    path = os.path.join(place, "journal.jsonl")
    store.put([video("a")])
    start = os.path.getsize(path)
    store.put([video("b")])
    with open(path, "rb") as file:
        content = file.read()
    for size in [*range(start, len(content), 13), len(content) - 1]:
        with open(path, "wb") as file:
            file.write(content[:size])
        with open_store(place) as reader:
            check(reader, [video("a")])
    store = open_store(place)
    store.put([video("c")])
    check(store, [video("a"), video("c")])
    with open_store(place) as reader:
        check(reader, [video("a"), video("c")])


def test_killed_creation_leaves_a_place_for_a_new_one(place):
    os.makedirs(os.path.join(place, "segments", "0123"))
    with open(os.path.join(place, "journal.jsonl"), "w") as file:
        file.write("torn")
    with pytest.raises(DataError, match="there is no index"):
        open_store(place)
    with create_store(place, INFO, "exact") as store:
        store.put([video("a")])
        check(store, [video("a")])
        assert "0123" not in segments(place)


# ---- Several at once ---------------------------------------------------------------------------------------------------


def test_segment_that_another_writer_is_writing_is_left_alone(store, place, monkeypatch):
    other, write_videos = open_store(place), SegmentWriter.write_videos

    def slowly(writer, held):
        if held[0].video_id == "slow":
            other.put([video("quick")])
            other.optimize()
        write_videos(writer, held)

    monkeypatch.setattr(SegmentWriter, "write_videos", slowly)
    store.put([video("slow")])
    check(store, [video("quick"), video("slow")])


def test_video_replaced_or_removed_while_it_is_moved_stays_so(store, place, monkeypatch):
    other, write = open_store(place), SegmentWriter.write

    def slowly(writer, *args):
        monkeypatch.setattr(SegmentWriter, "write", write)
        other.put([video("b", 4, seed=1)])
        other.remove(["c"])
        write(writer, *args)

    for name in "abcd":
        store.put([video(name)])
    monkeypatch.setattr(SegmentWriter, "write", slowly)
    store.optimize()
    held = [video("a"), video("d"), video("b", 4, seed=1)]
    check(store, held)
    other.refresh()
    check(other, held)


def test_writers_at_once_lose_nothing_and_readers_see_whole_videos(store, place):
    """Three processes put, one of them removes and optimizes; this one reads all the time."""

    def put(writer):
        index = open_store(place)
        for number in range(12):
            index.put([video(f"{writer}-{number}", 3 + number), video("shared", 5, seed=writer)])
            if writer == 0 and number % 4 == 3:
                index.remove([f"0-{number}"])
                index.optimize()

    pids = []
    for writer in range(3):
        pid = os.fork()
        if not pid:
            os._exit(in_a_fork(lambda writer=writer: put(writer)))
        pids.append(pid)
    codes, asked, rounds = [], queries(2), 0
    with open_store(place) as reader:
        while len(codes) < 3:
            reader.refresh()
            hits = reader.search(asked, 20)
            assert set(hits.videos.ravel()) - {""} <= set(reader.videos())
            for name in list(reader.videos())[-3:]:
                writer, _, number = name.partition("-")
                if number:
                    assert_same_video(reader.read(name), video(name, 3 + int(number)))
            rounds += 1
            pid, status = os.waitpid(-1, os.WNOHANG)
            codes += [status] if pid in pids else []
        reader.refresh()
        assert codes == [0, 0, 0]
        assert rounds > 1
        names = {f"{writer}-{number}" for writer in range(3) for number in range(12)}
        assert set(reader.videos()) == names - {"0-3", "0-7", "0-11"} | {"shared"}
        for name in names & set(reader.videos()):
            assert_same_video(reader.read(name), video(name, 3 + int(name.partition("-")[2])))


def test_search_goes_on_with_the_state_it_began_with(store, place):
    held = videos(6)
    for part in held:
        store.put([part])
    with open_store(place) as reader:
        store.remove([part.video_id for part in held[:5]])
        store.put([video("new")])
        store.optimize()
        check(reader, held)
        reader.refresh()
        check(reader, [held[5], video("new")])


def test_threads_share_a_store_that_is_written_to(store):
    held, stop, failures = videos(10), threading.Event(), []
    store.put(held)
    wanted = plain_search(held, queries(3), 5, MomentFilter(videos=["video2", "video3"]))

    def search():
        while not stop.is_set():
            try:
                hits = store.search(queries(3), 5, MomentFilter(videos=["video2", "video3"]))
                assert_same_hits(hits, wanted)
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(10):
        store.put([video(f"other{number}")])
        store.refresh()
    store.optimize()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_lock_that_is_not_let_go_of_ends_in_one_sentence(place, store):
    path = os.path.join(place, ".lock")
    with (
        file_lock(path),
        pytest.raises(UserError, match="another process has held .*lock"),
        file_lock(path, patience=0.02),
    ):
        pytest.fail("locked twice")


# ---- Order, space ------------------------------------------------------------------------------------------------------


def test_equal_moments_come_in_the_order_in_which_their_videos_were_put(store):
    vectors = np.repeat(video("any", 1).contrastive, 4, 0)
    twins = [video(name, 4, contrastive=vectors, iou=vectors) for name in "dacb"]
    for part in twins:
        store.put([part])
    store.put([twins[0]])
    store.optimize()
    for head in HEADS:
        hits = store.search(queries(1), 10, head=head)
        assert "".join(hits.videos[0]) == "aaaaccccbb"
        np.testing.assert_array_equal(hits.moments[0, :4], twins[1].moments)


def test_optimizing_puts_segments_together_and_gives_space_back(store, place, monkeypatch):
    monkeypatch.setattr(exact_store, "SEGMENT_ROWS", 60)
    held = [video(f"v{number}", 20) for number in range(7)]
    for part in held:
        store.put([part])
    store.remove(["v3"])
    store.optimize()
    assert sorted(len(store._snapshot.segments[name]) for name in segments(place)) == [60, 60]
    before = segments(place)
    store.optimize()
    assert segments(place) == before
    store.remove(["v0"])
    store.optimize()
    assert sorted(len(store._snapshot.segments[name]) for name in segments(place)) == [40, 60]
    check(store, [part for part in held if part.video_id not in ("v0", "v3")])
    with open(os.path.join(place, "journal.jsonl")) as file:
        assert len(file.readlines()) == 3


def test_replaced_segments_go_at_the_next_write(store, place):
    store.put([video("a")])
    store.put([video("a", seed=1)])
    store.put([video("b")])
    assert len(segments(place)) == 2


def test_nothing_new_is_seen_without_reading_the_journal(store, place, monkeypatch):
    store.put(videos(3))
    with open_store(place) as reader:
        monkeypatch.setattr(type(reader._journal), "_parsed", lambda *_: pytest.fail("read"))
        before = reader._snapshot
        reader.refresh()
        assert reader._snapshot is before


def test_new_videos_are_seen_without_reading_the_old_ones_again(store, place, monkeypatch):
    store.put(videos(3))
    with open_store(place) as reader:
        store.put([video("new")])
        lines, parse = [], type(reader._journal)._parsed
        monkeypatch.setattr(
            type(reader._journal), "_parsed", lambda self, line: lines.append(line) or parse(self, line)
        )
        reader.refresh()
        assert len(lines) == 2  # the journal's name, and the new line
        assert "new" in reader.videos()


# ---- Damage ------------------------------------------------------------------------------------------------------------


def damaged(place, part, change):
    """Change the bytes of the journal, the description or an array of the only segment."""
    folder = place if part in ("journal.jsonl", "index.json") else os.path.join(place, "segments", *segments(place))
    path = os.path.join(folder, part)
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(change(content))


@pytest.mark.parametrize(
    "part, change",
    [
        ("contrastive.npy", lambda content: content[:-1]),
        ("iou.npy", lambda content: content + b"0"),
        ("moments.npy", lambda content: b""),
        ("moments.npy", lambda content: b"X" + content[1:]),
        ("iou.npy", lambda content: content.replace(b"<f2", b"<f4")),
        ("iou.npy", lambda content: content.replace(b"(20, 16)", b"(16, 20)")),
        ("journal.jsonl", lambda content: content.replace(b"20", b"21")),
        ("journal.jsonl", lambda content: b""),
        ("journal.jsonl", lambda content: content[content.index(b"\n") + 1 :]),
        ("index.json", lambda content: content[:20]),
        ("index.json", lambda content: content.replace(b'"dim"', b'"din"')),
    ],
)
def test_damage_ends_in_one_sentence(store, place, part, change):
    store.put([video("a", 20)])
    store.close()
    damaged(place, part, change)
    with pytest.raises(DataError, match=r"damaged.*build (the index|it) again"):
        open_store(place)


def test_missing_segment_ends_in_one_sentence(store, place):
    store.put([video("a")])
    shutil.rmtree(os.path.join(place, "segments", *segments(place)))
    with pytest.raises(DataError, match="lacks .*build it again"):
        open_store(place)


def test_index_of_another_format_is_refused(store, place):
    path = os.path.join(place, "index.json")
    with open(path) as file:
        values = json.load(file)
    with open(path, "w") as file:
        json.dump({**values, "format": 99}, file)
    with pytest.raises(DataError, match="has format 99, but this version reads 1"):
        open_store(place)


def test_place_that_cannot_be_written_ends_in_one_sentence(store, place, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    store.put([video("a")])
    monkeypatch.setattr(SegmentWriter, "write_videos", full)
    with pytest.raises(UserError, match="cannot be written .No space left on device.*untouched"):
        store.put([video("b")])
    monkeypatch.undo()
    check(store, [video("a")])
    assert len(segments(place)) == 1


def test_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        create_store(str(tmp_path / "file" / "index"), INFO, "exact")


def test_index_of_another_store_is_not_opened(store, place):
    with open(os.path.join(place, "index.json"), "r+") as file:
        content = file.read().replace('"exact"', '"other"')
        file.seek(0)
        file.write(content)
    with pytest.raises(ConfigError, match="kept by the engine other"):
        type(store).open(place)


def test_segment_deleted_while_it_is_opened_is_looked_for_in_the_new_state(store, place, monkeypatch):
    """As by a writer that optimizes between two steps of a reader."""
    held, map_file, mapped = [video("a"), video("b")], torch.from_file, []
    for part in held:
        store.put([part])

    def late(*args, **kwargs):
        if not mapped:
            mapped.append(args)
            store.optimize()
        return map_file(*args, **kwargs)

    monkeypatch.setattr(torch, "from_file", late)
    with open_store(place) as reader:
        check(reader, held)
    assert mapped
