"""What is searched in the page's library, what is known of its videos, and how it grows."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from small_videos import write_avi, write_plain_video

from mmn.apps.demo import video_library as library_module
from mmn.apps.demo.growing_library import GrowingLibrary
from mmn.apps.demo.library_tab import seconds_of
from mmn.apps.demo.listed_videos import ListedVideo
from mmn.apps.demo.video_library import VideoLibrary, Wanted
from mmn.apps.search.indexed_video import BuildSettings, index_info, video_moments
from mmn.apps.search.moment_index import MomentIndex
from mmn.apps.search.vector_store import create_store, open_store
from mmn.utils.errors import ConfigError, DataError

ALL = Wanted()


def wait_until_added(library):
    library._thread.join(60)
    assert library.adding is None


@pytest.fixture(scope="module")
def place(demo_localizer, listed, tmp_path_factory):
    """An index of walk, garden, of a video `lost` whose file is gone, and of `rows`, which has no file."""
    place = str(tmp_path_factory.mktemp("index") / "index")
    encoded = [demo_localizer.encode_video(video.path) for video in listed]
    paths = {"walk": listed[0].path, "garden": listed[1].path, "lost": "/nowhere/lost.mp4", "rows": ""}
    sources = dict(zip(paths, (*encoded, *encoded), strict=True))
    with create_store(place, index_info(demo_localizer), "exact") as store:
        store.put(
            [video_moments(sources[name], BuildSettings(), path=path, video_id=name) for name, path in paths.items()]
        )
    return place


@pytest.fixture
def opened(place, demo_localizer, listed):
    with MomentIndex.open(place, demo_localizer) as index:
        yield VideoLibrary(index, {video.name: video.sentences for video in listed})


# ---- Searching -------------------------------------------------------------------------------------------------------


def test_moments_are_those_of_the_index(opened):
    found = opened.find("  a dog barks ", ALL)
    (wanted,) = opened.index.search(["a dog barks"], top_k=10)
    shown = [(moment.video, moment.start, moment.end, moment.score) for moment in found.moments]
    assert shown == [(moment.video, moment.start, moment.end, moment.score) for moment in wanted.moments]
    assert (found.asked, found.num_videos, found.truth) == ("“a dog barks”", 4, ())
    assert all(moment.duration == pytest.approx(24) and moment.iou is None for moment in found.moments)


def test_known_sentence_has_its_true_moments_and_the_iou_of_those_found_in_their_video(opened):
    found = opened.find("a man THROWS a ball", ALL)
    assert [(moment.video, moment.start, moment.end) for moment in found.truth] == [("walk", 3, 9)]
    assert {moment.video for moment in found.moments} > {"walk"}
    for moment in found.moments:
        overlap = max(0, min(moment.end, 9) - max(moment.start, 3))
        hull = max(moment.end, 9) - min(moment.start, 3)
        expected = pytest.approx(overlap / hull, abs=1e-5) if moment.video == "walk" else None
        assert moment.iou == expected
        assert moment.truth == (((3, 9),) if moment.video == "walk" else ())


def test_sentence_that_is_known_of_several_videos_has_all_true_moments(opened):
    sentences = {
        "walk": {"A dog.": ((1, 2),), "a dog": ((3, 4),)},
        "lost": {"a dog": ((5, 6),)},
        "none": {"a dog": ((7, 8),)},
    }
    found = VideoLibrary(opened.index, sentences).find("A dog", ALL)
    assert [(moment.video, moment.start) for moment in found.truth] == [("walk", 1), ("walk", 3), ("lost", 5)]


def test_only_the_videos_and_lengths_that_are_wanted_are_found(opened):
    wanted = Wanted(("garden", "lost"), min_length=2.0, max_length=6.5)
    found = opened.find("a man throws a ball", wanted)
    assert {moment.video for moment in found.moments} == {"garden", "lost"}
    assert all(2.0 <= moment.end - moment.start <= 6.5 for moment in found.moments)
    assert found.num_videos == 2 and found.truth == ()


def test_few_videos_may_fill_the_list(opened):
    assert [Wanted(("a",) * count).options(100)["per_video"] for count in (0, 1)] == [3, 10]
    assert [Wanted().options(count)["per_video"] for count in (0, 1, 3, 4, 5)] == [10, 10, 4, 3, 3]
    assert {moment.video for moment in opened.find("a man", Wanted(("walk",))).moments} == {"walk"}
    assert len(opened.find("a man", Wanted(("walk",))).moments) > 3


def test_more_like_a_moment_finds_others(opened):
    found = opened.find_like("walk", 3.0, 9.0, ALL)
    wanted = opened.index.search_like("walk", 3.0, 9.0, top_k=10)
    assert [(moment.video, moment.start) for moment in found.moments] == [(m.video, m.start) for m in wanted.moments]
    assert found.asked == "Like walk, 0:03.0 to 0:09.0"
    assert not any(moment.video == "walk" and moment.start < 9 and moment.end > 3 for moment in found.moments)


@pytest.mark.parametrize(
    "search, sentence",
    [
        (lambda library: library.find(" ", ALL), "must be a text that is not empty"),
        (lambda library: library.find("a man", Wanted(("wakl",))), "did you mean 'walk'"),
        (lambda library: library.find("a man", Wanted(min_length=5, max_length=3)), "correct the lengths"),
        (lambda library: library.find("a man", Wanted(min_length=-1)), "correct the lengths"),
        (lambda library: library.find_like("wakl", 0, 1, ALL), "did you mean 'walk'"),
        (lambda library: library.find_like("walk", 9, 3, ALL), "a start and a later end"),
        (lambda library: library.find_like("walk", "3", None, ALL), "a start and a later end"),
    ],
)
def test_what_cannot_be_searched_is_a_sentence(opened, search, sentence):
    with pytest.raises(ConfigError, match=sentence):
        search(opened)


@pytest.mark.parametrize("text", ["five", "nan", "inf", "1:30", "1,000.5"])
def test_length_that_is_no_number_is_a_sentence(text):
    with pytest.raises(ConfigError, match="is no number of seconds"):
        seconds_of(text)


@pytest.mark.parametrize("text, seconds", [("", None), ("  ", None), (None, None), ("2", 2.0), (" 2,5 ", 2.5)])
def test_length_is_read_as_it_is_typed(text, seconds):
    assert seconds_of(text) == seconds


def test_calibrated_index_gives_confidence_and_refuses_what_does_not_fit(opened, place, demo_localizer, tmp_path):
    values = {
        "split": "val",
        "num_queries": 9,
        "num_videos": 9,
        "num_pairs": 81,
        "shape": 0.5,
        "scale": 0.1,
        "rates": (),
    }
    info = replace(opened.index.store.info, calibration={**values, "quantiles": [-1.0, 1.0]})
    with create_store(str(tmp_path / "index"), info, "exact") as store, open_store(place) as source:
        store.put([source.read(name) for name in source.videos()])
        library = VideoLibrary(MomentIndex(store, demo_localizer))
        assert library.is_calibrated and not opened.is_calibrated
        found = library.find("a man", Wanted(threshold=0.0))
        assert all(0 <= moment.confidence <= 1 for moment in found.moments) and len(found.moments) == 10
        found = library.find("a man", Wanted(threshold=1.0))
        assert found.nothing_fits and found.moments == () and found.confidence < 1
        assert library.find_like("walk", 3, 9, Wanted(threshold=1.0)).moments  # a moment's cosines are other ones


# ---- Its videos ------------------------------------------------------------------------------------------------------


def test_files_of_videos_are_found_or_it_is_said_why_not(opened, listed):
    assert opened.file_of("walk") == listed[0].path
    for name, sentence in {
        "lost": "its file lost.mp4 is not where the index says",
        "rows": "encoded from features, and its file is not known",
        "../walk.mp4": "the library has no video",
        listed[0].path: "the library has no video",
    }.items():
        with pytest.raises(DataError, match=sentence):
            opened.file_of(name)


def test_videos_of_the_page_stand_in_for_files_that_the_index_does_not_know(opened, listed):
    files = {"rows": listed[0].path, "lost": listed[1].path, "other": listed[1].path}
    library = VideoLibrary(opened.index, files=files)
    assert [library.file_of(name) for name in ("rows", "lost")] == [listed[0].path, listed[1].path]
    with pytest.raises(DataError, match="has no video other"):
        library.file_of("other")


def test_moment_of_a_video_without_a_file_says_so(opened):
    problems = {moment.video: moment.problem for moment in opened.find("a man", ALL).moments}
    assert problems["walk"] == problems["garden"] == ""
    assert problems["lost"].endswith("not where the index says.") and problems["rows"].endswith("is not known.")


def test_examples_are_the_first_sentences_of_videos_that_are_there(opened):
    sentences = {
        "none": {"a cat": ((0, 1),)},
        "walk": {"a dog": ((0, 1),), "a bird": ((0, 1),)},
        "garden": {},
        "lost": {"a fish": ((0, 1),)},
    }
    library = VideoLibrary(opened.index, sentences)
    assert library.examples(9) == ["a dog", "a fish"] and library.examples(1) == ["a dog"]
    assert library.names(3) == ["garden", "lost", "rows"]


# ---- An index that others write to -----------------------------------------------------------------------------------


@pytest.fixture
def written(demo_localizer, listed, tmp_path, monkeypatch):
    """A library of one video, seen anew at every search, and another hand on its index."""
    monkeypatch.setattr(library_module, "REFRESH_SECONDS", 0.0)
    place = str(tmp_path / "index")
    store = create_store(place, index_info(demo_localizer), "exact")
    store.put([video_moments(demo_localizer.encode_video(listed[0].path), BuildSettings())])
    yield VideoLibrary(MomentIndex.open(place, demo_localizer)), store
    store.close()


def test_what_another_process_adds_is_found(written, demo_localizer, listed):
    library, store = written
    assert library.state().num_videos == 1
    store.put([video_moments(demo_localizer.encode_video(listed[1].path), BuildSettings())])
    assert {moment.video for moment in library.find("a man", ALL).moments} == {"walk", "garden"}
    assert library.state().num_videos == 2


def test_index_that_another_model_has_built_anew_is_refused(written):
    library, store = written
    store.write_info(replace(store.info, model="another"))
    for ask in (library.state, lambda: library.find("a man", ALL), lambda: library.find_like("walk", 3, 9, ALL)):
        with pytest.raises(ConfigError, match="is another model"):
            ask()


# ---- Growing ---------------------------------------------------------------------------------------------------------


def test_library_is_empty_until_the_videos_of_the_page_are_added(growing, listed):
    assert (growing.state().num_videos, growing.state().num_missing) == (0, 2)
    growing.start_adding()
    wait_until_added(growing)
    state = growing.state()
    assert (state.num_videos, state.num_missing, state.adding, state.problems) == (2, 0, None, ())
    assert {moment.video for moment in growing.find("a man", ALL).moments} == {"walk", "garden"}
    assert [moment.video for moment in growing.find("a man throws a ball", ALL).truth] == ["walk"]
    assert growing.file_of("walk") == listed[0].path


def test_video_that_cannot_be_read_is_named_and_the_others_are_there(search, listed, tmp_path):
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam")
    library = GrowingLibrary(search, [ListedVideo("letter", str(tmp_path / "letter.mp4")), listed[0]])
    library.start_adding()
    wait_until_added(library)
    state = library.state()
    assert (state.num_videos, state.num_missing) == (1, 1)
    assert len(state.problems) == 1 and state.problems[0].startswith("letter.mp4 is no video that can be read")
    library.close()


@pytest.mark.parametrize("can_link", [True, False])
def test_upload_stays_when_the_file_that_was_uploaded_is_deleted(growing, tmp_path, monkeypatch, can_link):
    if not can_link:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("another file system")))
    path = write_avi(tmp_path / "old.avi")
    content = path.read_bytes()
    assert growing.add_upload(str(path)) == "old"
    path.unlink()
    assert Path(growing.file_of("old")).read_bytes() == content
    assert growing.find("a man", ALL).moments[0].video == "old"
    folder = growing._folder.name
    growing.close()
    assert not os.path.exists(folder)


def test_upload_takes_no_name_of_another_video(growing, tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        path = write_plain_video(tmp_path / str(number) / "walk.mp4")
        assert growing.add_upload(str(path)) == f"walk ({number + 1})"
    growing.start_adding()
    wait_until_added(growing)
    assert growing.names(9) == ["garden", "walk", "walk (2)", "walk (3)"]


def test_upload_that_is_no_video_adds_nothing(growing, tmp_path):
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam")
    with pytest.raises(DataError, match="no video"):
        growing.add_upload(str(tmp_path / "letter.mp4"))
    assert growing.state().num_videos == 0


def test_many_search_while_videos_are_added(growing, tmp_path):
    """Every answer is of whole videos: copies of one video have the same best moments, whenever they are asked for."""
    path = str(write_plain_video(tmp_path / "new.mp4"))
    growing.add_upload(path)
    best = [(moment.start, moment.end) for moment in growing.find("a man", ALL).moments]
    done, numbers, wrong = threading.Event(), set(), []

    def ask():
        while not done.is_set() or not numbers:
            try:
                moments = growing.find("a man", ALL).moments
                names = {moment.video for moment in moments}
                own = [[(m.start, m.end) for m in moments if m.video == name] for name in names]
                wrong.extend(found for found in own if found != best[: len(found)])
                numbers.add(len(names))
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    names = [growing.add_upload(path) for _ in range(5)]
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == [] and len(best) > 3
    assert names == [f"new ({number})" for number in range(2, 7)]
    assert growing.state().num_videos == 6
