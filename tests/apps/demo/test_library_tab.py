"""What the tab "Library" answers, without a browser."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_videos import write_plain_video

from mmn.apps.demo import library_tab, video_library
from mmn.apps.demo.library_tab import LibraryTab
from mmn.apps.demo.video_library import VideoLibrary
from mmn.apps.search.confidence import Calibration

gradio = pytest.importorskip("gradio", reason="Gradio is not installed: pip install .[demo]")
ANYTHING = ([], "", "", 0)


@pytest.fixture
def tab(growing, tmp_path):
    """Of a library that has one, two and three."""
    for name in ("one", "two", "three"):
        growing.add_upload(str(write_plain_video(tmp_path / f"{name}.mp4")))
    return LibraryTab(gradio, growing)


def test_empty_library_says_what_to_do(growing):
    assert "add videos to it first" in LibraryTab(gradio, growing).search("a man", *ANYTHING)


def test_moments_are_found_for_a_sentence_and_for_a_click_on_a_moment(tab):
    assert tab.search("a man", *ANYTHING).count('class="hit"') == 10
    example = SimpleNamespace(video="two", start=0.5, end=1.0)
    assert "Like two, 0:00.5 to 0:01.0" in tab.search_like(example, *ANYTHING)
    assert "in 1 of 1 video." in tab.search_like(example, ["one"], "", "", 0)


@pytest.mark.parametrize(
    "example",
    [SimpleNamespace(), SimpleNamespace(video={}, start=0, end=1), SimpleNamespace(video="one", start="0", end=None)],
)
def test_click_that_no_page_sends_is_answered_by_a_sentence(tab, example):
    assert tab.search_like(example, *ANYTHING).startswith('<div class="problem"')


def test_what_cannot_be_searched_is_a_sentence(tab):
    for wanted in ((["four"], "", "", 0), ([], "x", "", 0), ([], "3", "2", 0)):
        assert tab.search("a man", *wanted).startswith('<div class="problem"')


def test_index_that_another_model_has_built_anew_says_so_without_places_on_the_server(tab, monkeypatch):
    monkeypatch.setattr(video_library, "REFRESH_SECONDS", 0.0)
    store = tab.library.index.store
    store.write_info(replace(store.info, model="another"))
    for text in (tab.search("a man", *ANYTHING), tab.show()[0]):
        assert text.startswith('<div class="problem"') and "is another model" in text
        assert store.place not in text


def test_of_very_many_videos_the_first_are_listed_and_others_may_be_typed(tab, monkeypatch):
    def names():
        videos = tab.show()[2]
        return [name for name, _ in videos.choices], videos.allow_custom_value

    assert names() == (["one", "three", "two"], False)
    monkeypatch.setattr(library_tab, "MAX_NAMES", 2)
    assert names() == (["one", "three"], True)


def test_slider_of_the_confidence_is_shown_where_the_index_is_calibrated(tab):
    assert tab.show()[4].visible is False
    store = tab.library.index.store
    calibration = Calibration("val", 1, 1, 1, (1.0, 0.0), 0.1, 0.1)
    store.write_info(replace(store.info, calibration=calibration.to_dict()))
    assert LibraryTab(gradio, VideoLibrary(tab.library.index)).show()[4].visible is True


def test_progress_is_shown_until_all_videos_of_the_page_are_there(tab, monkeypatch):
    may_go_on, encode = threading.Event(), tab.library.search.encode
    monkeypatch.setattr(
        tab.library.search, "encode", lambda *args, **more: may_go_on.wait(60) and encode(*args, **more)
    )
    watching = tab.add_listed()
    state, button, *_ = next(watching)
    assert '<progress max="2" value="0"' in state and button.visible is False
    assert "<progress" in LibraryTab(gradio, tab.library).show()[0]  # to another visitor, too
    may_go_on.set()
    *_, (state, button, names, examples, _) = watching
    assert "<b>5 videos</b>" in state and "<progress" not in state and button.visible is False
    assert [name for name, _ in names.choices] == ["garden", "one", "three", "two", "walk"]
    assert examples.visible is True


def test_upload_is_answered_by_its_name(tab, tmp_path):
    assert "one (2) is in the library now" in tab.add_upload(str(tmp_path / "one.mp4"))[0]
    assert "best moments of all videos will be listed" in tab.add_upload(None)[0]
