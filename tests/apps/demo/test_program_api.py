"""The page's answers to programs, by Gradio's own client."""

import re
from contextlib import closing
from dataclasses import asdict

import pytest
from serving import served
from tiny import ROOT

from mmn.apps.demo.growing_library import GrowingLibrary
from mmn.apps.demo.page import build_app
from mmn.apps.demo.video_search import VideoSearch

pytestmark = pytest.mark.filterwarnings("ignore::Warning:gradio")
SENTENCE = "a man throws a ball"


@pytest.fixture(scope="module")
def server(demo_localizer, listed):
    """The address of a page with two videos, both in its library."""
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install .[demo]")
    search = VideoSearch(demo_localizer)
    with closing(GrowingLibrary(search, listed)) as library:
        library.start_adding()
        library._thread.join()
        with served(build_app(search, listed, library)) as address:
            yield address


@pytest.fixture(scope="module")
def page(server):
    gradio_client = pytest.importorskip("gradio_client")
    with closing(gradio_client.Client(server, verbose=False)) as client:
        yield client


def test_example_of_the_documentation_finds_what_the_localizer_finds(
    server, demo_localizer, video_folder, monkeypatch, capsys
):
    monkeypatch.chdir(video_folder)
    example = re.search(
        r"```python\n(from gradio_client.*?)```", (ROOT / "docs" / "PICTURES.md").read_text(), re.DOTALL
    )[1]
    answers = []
    namespace = {"print": answers.append}
    exec(example.replace("http://127.0.0.1:7860/", server), namespace)
    namespace["page"].close()
    names, listed, uploaded, found = answers
    (result,) = demo_localizer.localize(str(video_folder / "walk.mp4"), SENTENCE)
    assert names == ["walk", "garden"]
    assert listed == [pytest.approx(asdict(moment)) for moment in result.moments]
    assert uploaded == listed[:3]
    assert {moment["video"] for moment in found} == {"walk", "garden"}


@pytest.mark.parametrize(
    ("words", "endpoint", "sentence"),
    [
        (("wolk", SENTENCE), "/localize", "there is no video 'wolk' on this page: did you mean walk"),
        (("walk", " "), "/localize", "it must be a text that is not empty"),
        (("walk", SENTENCE, 0), "/localize", "top_k is 0"),
        (("",), "/search", "it must be a text that is not empty"),
        ((None, SENTENCE), "/localize_file", "there is no video: upload one"),
    ],
)
def test_mistake_of_a_program_is_a_sentence(page, words, endpoint, sentence):
    with pytest.raises(Exception, match=sentence):
        page.predict(*words, api_name=endpoint)


def test_file_of_the_server_is_not_read_for_a_program(page, video_folder):
    """One that was not uploaded, by its path there."""
    file = {"path": str(video_folder / "annotations.json"), "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception) as caught:
        page.predict(file, SENTENCE, 1, api_name="/localize_file")
    assert "throws" not in str(caught.value)


def test_events_of_the_page_stay_private(page):
    named = page.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/videos", "/localize", "/localize_file", "/search"}
