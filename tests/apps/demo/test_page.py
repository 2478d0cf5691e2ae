"""The page in a real browser, Chromium without a window; without one these tests are skipped."""

import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from serving import served
from small_videos import write_avi
from tiny import ROOT

from mmn.apps.demo.demo_command import PageVideos
from mmn.apps.demo.growing_library import GrowingLibrary
from mmn.apps.demo.page import DemoPage, build_app, import_gradio, serve
from mmn.apps.demo.video_search import VideoSearch
from mmn.apps.localize.model_source import ModelSource
from mmn.commands.frame import run_command
from mmn.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::Warning:gradio")


@pytest.fixture(scope="module")
def server(demo_localizer, listed):
    """The address of a page with two videos."""
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install .[demo]")
    search = VideoSearch(demo_localizer)
    with closing(GrowingLibrary(search, listed)) as library, served(build_app(search, listed, library)) as address:
        yield address


@pytest.fixture
def page(browser, server):
    """A new page, which begins with the first video of the list."""
    page = browser.new_page()
    page.goto(server)
    page.wait_for_selector("#player video")
    page.wait_for_selector("#results >> text=24.0 seconds")
    yield page
    page.close()


def ask(page, query):
    page.locator("#query textarea, #query input").first.fill(query)
    page.locator("#query textarea, #query input").first.press("Enter")


def upload(page, path):
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(path)


def player(page, expression):
    return page.evaluate(f"document.querySelector('#player video').{expression}")


def test_typing_a_sentence_lists_moments_and_shows_the_maps(page):
    ask(page, "a man throws a ball")
    page.wait_for_selector(".moment.truth")
    assert page.locator(".moment:not(.truth) .rank").all_inner_texts()[:2] == ["1", "2"]
    assert "IoU" in page.locator(".moment:not(.truth) .notes").first.inner_text()
    page.wait_for_selector("#maps img")
    page.wait_for_function("document.querySelector('#maps img').naturalWidth > 600")


def test_click_on_a_moment_moves_the_player_there_and_it_stops_at_the_end(page):
    ask(page, "a man throws a ball")
    page.wait_for_selector(".moment.truth")
    assert player(page, "currentTime") == 0
    page.locator(".moment.truth").click()
    page.wait_for_function("document.querySelector('#player video').currentTime >= 3")
    assert player(page, "currentTime") < 9
    player(page, "playbackRate = 8")
    page.wait_for_function("document.querySelector('#player video').paused")
    assert 9 <= player(page, "currentTime") < 12
    other = page.locator(".moment:not(.truth)").last
    start = float(other.get_attribute("data-start"))
    other.click()
    page.wait_for_function(f"Math.abs(document.querySelector('#player video').currentTime - {start}) < 3")
    assert "playing" in other.get_attribute("class")


def test_sentence_that_is_known_is_asked_by_a_click(page):
    page.get_by_text("A box <b>opens.").first.click()
    page.wait_for_selector(".moment.truth")
    assert page.locator(".moment.truth .times").inner_text() == "0:10.0 – 0:20.0"
    assert page.locator(".asked").inner_text() == "“A box <b>opens.”"


def test_other_video_of_the_list_is_shown_and_the_old_moments_go(page):
    ask(page, "a man throws a ball")
    page.wait_for_selector(".moment")
    page.locator("#video-list input").click()
    page.get_by_role("option", name="garden").click()
    page.wait_for_selector("#results >> text=garden: 24.0 seconds")
    page.wait_for_function("document.querySelector('#player video').src.includes('garden')")
    assert page.locator(".moment").count() == 0


@pytest.mark.parametrize("query", ["", "   "])
def test_empty_sentence_is_told_what_to_type(page, query):
    page.locator("#query textarea, #query input").first.fill(query)
    page.locator("#find").click()
    page.wait_for_selector(".problem >> text=Type what happens")


def test_upload_that_is_no_video_is_told_so_without_places_on_the_server(page, tmp_path):
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam")
    upload(page, tmp_path / "letter.mp4")
    page.wait_for_selector(".problem")
    text = page.locator(".problem").inner_text()
    assert re.match(r"letter\.mp4 is no video that can be read", text) and "/" not in text
    ask(page, "a man")
    page.wait_for_selector(".problem >> text=Pick a video")


def test_uploaded_video_that_browsers_do_not_play_is_played_and_searched(page, tmp_path):
    upload(page, write_avi(tmp_path / "old.avi"))
    page.wait_for_selector("#results >> text=old: 2.0 seconds")
    page.wait_for_function("document.querySelector('#player video')?.videoWidth == 64")
    ask(page, "a man")
    page.wait_for_selector(".moment")
    assert page.locator(".moment.truth").count() == 0


def test_page_asks_nothing_of_other_servers(page, server):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.wait_for_selector("#results >> text=24.0 seconds")
    ask(page, "a man")
    page.wait_for_selector("#maps img")
    outside = [url for url in asked if not url.startswith((server, "data:", "blob:"))]
    assert len(asked) > 20 and outside == []


def test_policy_keeps_the_page_from_reaching_out(page):
    blocked = page.evaluate("""new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.blockedURI));
        fetch("http://192.0.2.1/").catch(() => {});
        setTimeout(() => resolve("nothing was blocked"), 5000);
    })""")
    assert blocked.startswith("http://192.0.2.1")


# ---- Without a browser -----------------------------------------------------------------------------------------------


def test_missing_gradio_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"Gradio, .*pip install \.\[demo\]"):
        import_gradio()


def test_uploads_are_deleted_when_the_demo_ends(search, listed, growing, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    from starlette.testclient import TestClient

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with TestClient(build_app(search, listed, growing)) as client:
        reply = client.post("/gradio_api/upload", files={"files": ("letter.mp4", b"Dear Sir or Madam")})
        (path,) = reply.json()
        assert Path(path).is_relative_to(tmp_path) and Path(path).exists()
    assert not Path(path).exists()


def test_programs_are_offered_what_the_documentation_names_alone(search, listed, growing):
    pytest.importorskip("gradio")
    offered = DemoPage(search, listed, growing).build().get_api_info()["named_endpoints"]
    documented = (ROOT / "docs" / "PICTURES.md").read_text(encoding="utf-8")
    assert offered and all(f'api_name="{name}"' in documented for name in offered)


def test_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="choose another --port"):
            serve(None, *taken.getsockname())


def test_what_is_temporary_goes_when_the_demo_is_told_to_end(tmp_path):
    program = """if True:
        import os, signal, sys, tempfile, threading
        import uvicorn
        from mmn.apps.demo.page import serve

        folder = tempfile.TemporaryDirectory(dir=sys.argv[1])

        async def app(scope, receive, send):
            while scope["type"] == "lifespan":
                message = (await receive())["type"]
                await send({"type": message + ".complete"})
                if message == "lifespan.startup":
                    os.kill(os.getpid(), signal.SIGTERM)
                else:
                    return

        serve(app, "127.0.0.1", 0)
    """
    pytest.importorskip("uvicorn")
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, timeout=60, capture_output=True)
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_tool_hands_its_arguments_on(monkeypatch):
    words = "--ckpt w --videos a b --annotations f --index i --port 1 --host h MODEL.DEVICE cpu"
    given = []
    monkeypatch.setattr("mmn.apps.demo.demo_command.run_demo", lambda *args: given.extend(args))
    run_command("demo", words.split(), tool="")
    assert given == [ModelSource("w", None, ["MODEL.DEVICE", "cpu"]), PageVideos(["a", "b"], "f", "i"), "h", 1]
