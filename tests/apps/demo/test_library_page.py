"""The tab "Library" in a real browser; without one these tests are skipped."""

from contextlib import closing
from dataclasses import replace

import pytest
from serving import served
from small_videos import write_avi, write_plain_video

from mmn.apps.demo import video_library
from mmn.apps.demo.growing_library import GrowingLibrary
from mmn.apps.demo.listed_videos import ListedVideo
from mmn.apps.demo.page import build_app
from mmn.apps.demo.video_library import VideoLibrary
from mmn.apps.demo.video_search import VideoSearch
from mmn.apps.search.indexed_video import BuildSettings, index_info, video_moments
from mmn.apps.search.moment_index import MomentIndex
from mmn.apps.search.vector_store import create_store, open_store

pytestmark = pytest.mark.filterwarnings("ignore::Warning:gradio")
ODD_NAME = "a {{7*6}} ${1+1} <b>&"  # Gradio fills templates of its own


@pytest.fixture(scope="module")
def server(demo_localizer, listed, tmp_path_factory):
    """The address of a page whose library has nothing in it yet: walk, garden and one with an odd name are listed."""
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install .[demo]")
    odd = write_plain_video(tmp_path_factory.mktemp("odd") / f"{ODD_NAME}.mp4", num_frames=100, fps=10)
    listed = [*listed, ListedVideo(ODD_NAME, str(odd))]
    search = VideoSearch(demo_localizer)
    with closing(GrowingLibrary(search, listed)) as growing, served(build_app(search, listed, growing)) as address:
        yield address


def open_tab(browser, address):
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("tab", name="Library").click()
    page.wait_for_selector("#library-state .state")
    return page


@pytest.fixture
def page(browser, server):
    """A new page with the tab open and, whichever test is the first, all listed videos in the library."""
    page = open_tab(browser, server)
    if page.locator("#library-state >> text=is empty").count():
        page.locator("#library-add").click()
    page.wait_for_function("parseInt(document.querySelector('#library-state b')?.textContent) >= 3")
    page.locator("#library-add").wait_for(state="hidden")
    yield page
    page.close()


def ask(page, query):
    box = page.locator("#library-query textarea, #library-query input").first
    box.fill(query)
    box.press("Enter")


def hits(page):
    """The buttons of the moments that were found, when they are there."""
    page.wait_for_selector("#library-results .hit")
    return page.locator("#library-results .hit .moment")


def of_video(page, name):
    """The first found moment of a video."""
    return page.locator(f'#library-results .hit .moment[data-caption^="{name},"]').first


def player(page, expression):
    return page.evaluate(f"document.querySelector('#library-player video').{expression}")


def wait_for_player(page, expression):
    page.wait_for_function(
        f"(() => {{ const v = document.querySelector('#library-player video'); return {expression}; }})()"
    )


def upload(page, path):
    with page.expect_file_chooser() as chooser:
        page.locator("#library-upload").click()
    chooser.value.set_files(path)


def test_sentence_lists_moments_of_several_videos_with_frames(page):
    ask(page, "a man throws a ball")
    names = {text[1:].lstrip("0") for text in hits(page).locator(".name").all_inner_texts()}
    assert {"walk", "garden", ODD_NAME} <= names
    assert page.locator(".asked").inner_text() == "“a man throws a ball”"
    page.wait_for_function("document.querySelector('.hit .frame img').naturalWidth > 20")
    assert "IoU" in of_video(page, "walk").locator(".notes").inner_text()
    assert "IoU" not in of_video(page, "garden").locator(".notes").inner_text()


def test_click_plays_the_moment_to_its_end_and_one_of_another_video_switches(page):
    ask(page, "a man throws a ball")
    hits(page)
    page.locator(".annotated summary").click()
    page.locator(".annotated .moment").click()
    wait_for_player(page, "v.currentTime >= 3")
    assert player(page, "src").endswith("library/video?id=walk") and player(page, "currentTime") < 9
    assert page.locator("#library-player .caption").inner_text() == "walk, 0:03.0 to 0:09.0"
    player(page, "playbackRate = 8")
    wait_for_player(page, "v.paused")
    assert 9 <= player(page, "currentTime") < 12
    other = of_video(page, "garden")
    start = float(other.get_attribute("data-start"))
    other.click()
    wait_for_player(page, f"v.src.endsWith('id=garden') && v.readyState > 1 && Math.abs(v.currentTime - {start}) < 3")
    assert "playing" in other.get_attribute("class")
    assert page.locator(".playing").count() == 1


def test_moment_of_the_same_video_is_played_without_loading_it_again(page):
    ask(page, "a man throws a ball")
    hits(page)
    page.locator(".annotated summary").click()
    page.locator(".annotated .moment").click()
    wait_for_player(page, "v.currentTime >= 3")
    page.evaluate("window.loads = 0")
    page.evaluate("document.addEventListener('loadstart', () => window.loads++, true)")
    other = of_video(page, "walk")
    other.click()
    wait_for_player(page, f"Math.abs(v.currentTime - {other.get_attribute('data-start')}) < 2")
    assert page.evaluate("window.loads") == 0
    of_video(page, "garden").click()
    wait_for_player(page, "v.src.endsWith('id=garden') && v.readyState > 1")
    assert page.evaluate("window.loads") >= 1


def test_player_pauses_when_its_tab_is_left(page):
    ask(page, "a man throws a ball")
    hits(page)
    page.locator(".annotated summary").click()
    page.locator(".annotated .moment").click()
    wait_for_player(page, "!v.paused && v.currentTime >= 3")
    page.get_by_role("tab", name="One video").click()
    wait_for_player(page, "v.paused && v.currentTime < 9")


def test_video_with_an_odd_name_is_shown_and_played(page):
    ask(page, "a man throws a ball")
    hits(page)
    button = page.locator("#library-results .hit .moment", has_text=ODD_NAME).first
    assert button.get_attribute("data-caption").startswith(f"{ODD_NAME}, 0:")
    button.click()
    wait_for_player(page, "v.readyState > 1 && v.videoWidth > 0")
    assert page.locator("#library-player .caption").inner_text().startswith(ODD_NAME)


def test_more_like_this_lists_other_moments(page):
    ask(page, "a man throws a ball")
    hits(page)
    of_video(page, "garden").locator("xpath=..").locator(".like").click()
    page.wait_for_selector("#library-results .asked >> text=/^Like garden, 0:/")
    assert hits(page).count() >= 3
    page.locator("#library-results .hit", has_text=ODD_NAME).first.locator(".like").click()
    page.wait_for_selector("#library-results .asked >> text=/^Like a \\{\\{7/")


def test_only_wanted_videos_and_lengths_are_found(page):
    page.get_by_text("Which moments").click()
    page.locator("#library-videos input").click()
    page.get_by_role("option", name="garden").click()
    page.locator("#library-max input, #library-max textarea").first.fill("3,5")
    ask(page, "a man throws a ball")
    page.wait_for_selector("#library-results >> text=in 1 of 1 video")
    buttons = hits(page)
    for number in range(buttons.count()):
        start, end = (float(buttons.nth(number).get_attribute(f"data-{name}")) for name in ("start", "end"))
        assert end - start <= 3.5
    assert of_video(page, "walk").count() == 0
    page.locator("#library-min input, #library-min textarea").first.fill("soon")
    ask(page, "a man throws a ball")
    page.wait_for_selector("#library-results .problem >> text=is no number of seconds")


def test_sentence_that_is_known_is_asked_by_a_click(page):
    page.locator("[role=tabpanel]:visible").get_by_text("A man throws a ball.").first.click()
    page.wait_for_selector("#library-results .annotated")
    assert page.locator("#library-results .asked").inner_text() == "“A man throws a ball.”"


@pytest.mark.parametrize("query", ["", "   "])
def test_empty_sentence_is_told_what_to_type(page, query):
    page.locator("#library-query textarea, #library-query input").first.fill(query)
    page.locator("#library-search").click()
    page.wait_for_selector("#library-results .problem >> text=Type what happens")


def test_video_that_is_added_is_found_and_played_also_where_browsers_do_not_play_it(page, tmp_path):
    upload(page, write_avi(tmp_path / "old.avi"))
    page.wait_for_selector("#library-results >> text=old is in the library now.")
    page.wait_for_selector("#library-state >> text=4 videos")
    ask(page, "a man throws a ball")
    hits(page)
    of_video(page, "old").click()
    wait_for_player(page, "v.videoWidth == 64 && v.src.endsWith('id=old')")


def test_upload_that_is_no_video_is_told_so_without_places_on_the_server(page, tmp_path):
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam")
    upload(page, tmp_path / "letter.mp4")
    page.wait_for_selector("#library-results .problem")
    text = page.locator("#library-results .problem").inner_text()
    assert text.startswith("letter.mp4 is no video that can be read") and "/" not in text


def test_library_asks_nothing_of_other_servers(page, server):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    ask(page, "a man throws a ball")
    hits(page).first.click()
    wait_for_player(page, "v.readyState > 1")
    outside = [url for url in asked if not url.startswith((server, "data:", "blob:"))]
    assert any("library/frame" in url for url in asked) and any("library/video" in url for url in asked)
    assert outside == []


# ---- An index that is there ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def index_server(demo_localizer, listed, tmp_path_factory):
    """A page that begins with the library: an index of walk, and of lost, whose file is gone."""
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install .[demo]")
    place = str(tmp_path_factory.mktemp("page") / "index")
    video = demo_localizer.encode_video(listed[0].path)
    with create_store(place, index_info(demo_localizer), "exact") as store:
        for name, path in (("walk", listed[0].path), ("lost", "/nowhere/lost.mp4")):
            store.put([video_moments(video, BuildSettings(), path=path, video_id=name)])
    search = VideoSearch(demo_localizer)
    opened = VideoLibrary(MomentIndex.open(place, demo_localizer))
    with closing(opened), served(build_app(search, listed, opened, begins_with_library=True)) as address:
        yield address, place


@pytest.fixture
def index_page(browser, index_server):
    page = browser.new_page()
    page.goto(index_server[0])
    page.wait_for_selector("#library-state >> text=2 videos")
    yield page
    page.close()


def test_index_is_shown_at_once_and_takes_no_uploads(index_page):
    assert index_page.locator("#library-state").inner_text() == "The library index: 2 videos, 272 moments."
    assert not index_page.locator("#library-upload").is_visible()
    assert not index_page.locator("#library-threshold").is_visible()


def test_video_whose_file_is_gone_is_listed_with_a_sentence_in_place_of_the_player(index_page):
    ask(index_page, "a man")
    hits(index_page)
    of_video(index_page, "walk").click()
    wait_for_player(index_page, "v.readyState > 1 && !v.hidden")
    of_video(index_page, "lost").click()
    index_page.wait_for_selector("#library-player .blank >> text=lost cannot be played: its file lost.mp4 is not where")
    assert not index_page.locator("#library-player video").is_visible()
    of_video(index_page, "walk").click()
    wait_for_player(index_page, "v.readyState > 1 && !v.hidden")


def test_video_that_the_server_does_not_deliver_says_why(index_page):
    ask(index_page, "a man")
    hits(index_page)
    button = of_video(index_page, "walk")
    button.evaluate("element => { element.dataset.source = 'library/video?id=none'; }")
    button.click()
    index_page.wait_for_selector("#library-player .blank >> text=the library has no video none")


def test_index_that_another_model_has_built_anew_says_so_until_it_is_the_old_one(index_page, index_server, monkeypatch):
    monkeypatch.setattr(video_library, "REFRESH_SECONDS", 0.0)
    with open_store(index_server[1]) as store:
        info = store.info
        store.write_info(replace(info, model="another"))
        ask(index_page, "a man")
        index_page.wait_for_selector("#library-results .problem >> text=is another model")
        store.write_info(info)
    ask(index_page, "a man")
    hits(index_page)
