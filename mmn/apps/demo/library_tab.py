"""The tab "Library" of the page: many videos are searched by one sentence."""

import math
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from mmn.apps.demo.library_html import add_label, library_html, player_html, state_html
from mmn.apps.demo.result_html import message_html
from mmn.apps.demo.tab_parts import NO_QUERY, PRIVATE, examples_of, query_row, readable
from mmn.apps.demo.video_library import LibraryFound, VideoLibrary, Wanted
from mmn.utils.errors import ConfigError, UserError

INVITATION = "Type a sentence: the best moments of all videos will be listed here."
NOTHING_THERE = "The library is empty: add videos to it first."
NUM_EXAMPLES = 4  # each may take a line above what is found
MAX_NAMES = 500  # in the list of videos; ids of others are typed
SEARCHES_AT_ONCE = 4
POLL_SECONDS = 0.3
ON_LIKE = """element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-like]");
    if (button) trigger("select", {video: button.dataset.like, start: +button.dataset.from, end: +button.dataset.to});
});"""


class LibraryTab:
    """The tab's events, as functions from inputs to outputs; `build` connects them to Gradio's components.

    Args:
        gradio: the library of that name.
        library: the videos that are searched.
    """

    def __init__(self, gradio: ModuleType, library: VideoLibrary):
        self.gradio = gradio
        self.library = library

    # ---- Searching ----

    def search(self, query: str, *wanted: Any) -> str:
        """A sentence, and what is asked of moments -> results."""
        if not query.strip():
            return message_html(NO_QUERY, is_error=True)
        return self._results(lambda: self.library.find(query, wanted_of(*wanted)))

    def search_like(self, example: Any, *wanted: Any) -> str:
        """A click on "more like this", as data from the browser -> results."""
        video, start, end = (getattr(example, name, None) for name in ("video", "start", "end"))
        return self._results(lambda: self.library.find_like(str(video), start, end, wanted_of(*wanted)))

    def _results(self, search: Callable[[], LibraryFound]) -> str:
        try:
            if not self.library.state().num_videos:
                return message_html(NOTHING_THERE, is_error=True)
            return library_html(search())
        except UserError as error:
            return message_html(readable(error), is_error=True)

    # ---- What is in it ----

    def show(self) -> tuple:
        """Show the library: state, button, names, examples, threshold."""
        gradio = self.gradio
        names = self.library.names(MAX_NAMES + 1)
        examples = self.library.examples(NUM_EXAMPLES)
        return (
            *self._show_state(),
            gradio.Dropdown(names[:MAX_NAMES], allow_custom_value=len(names) > MAX_NAMES),
            gradio.Dataset(samples=[[text] for text in examples], visible=bool(examples)),
            gradio.Slider(visible=self.library.is_calibrated),
        )

    def _show_state(self) -> tuple:
        """State, button."""
        try:
            state = self.library.state()
        except UserError as error:
            return message_html(readable(error), is_error=True), self.gradio.Button(visible=False)
        can_add = bool(state.num_missing) and state.adding is None
        return state_html(state, self.library.name), self.gradio.Button(add_label(state), visible=can_add)

    def watch(self) -> Iterator[tuple]:
        """Yield what `show` returns, again and again as long as videos of the page's list are being added."""
        while self.library.adding is not None:
            yield (*self._show_state(), *[self.gradio.skip()] * 3)  # the lists are left to who is choosing
            time.sleep(POLL_SECONDS)
        yield self.show()

    def add_listed(self) -> Iterator[tuple]:
        """Begin to add the videos of the page's list; see `watch`. It goes on when the visitor leaves."""
        self.library.start_adding()
        yield from self.watch()

    def add_upload(self, path: str | None) -> tuple:
        """An uploaded file -> results, and the same as `show`."""
        if path is None:
            return (message_html(INVITATION), *self.show())
        try:
            name = self.library.add_upload(path)
        except UserError as error:
            return (message_html(readable(error), is_error=True), *self.show())
        return (message_html(f"{name} is in the library now."), *self.show())

    # ---- Layout ----

    def build(self, blocks) -> None:
        """Lay the tab out in the `gradio.Blocks` that is being made."""
        gradio = self.gradio
        with gradio.Row():
            with gradio.Column(scale=6, elem_id="library-left"):
                gradio.HTML(player_html(), elem_id="library-player")
                state = gradio.HTML(elem_id="library-state")
                with gradio.Row(visible=self.library.can_grow):
                    add = gradio.Button("Add this page's videos", elem_id="library-add", visible=False)
                    upload = gradio.UploadButton("Add a video of yours", elem_id="library-upload")
            with gradio.Column(scale=5):
                query, button = query_row(gradio, "library-query", "Search", "library-search")
                wanted = self._build_filters()
                examples = examples_of(gradio, query, "Known to happen in these videos")
                results = gradio.HTML(message_html(INVITATION), elem_id="library-results", js_on_load=ON_LIKE)
        shown = [state, add, wanted[0], examples, wanted[-1]]
        searching = {"show_progress": "minimal", "concurrency_id": "library", "concurrency_limit": SEARCHES_AT_ONCE}

        def like(example: gradio.EventData, *values):
            return self.search_like(example, *values)

        for trigger in (button.click, query.submit):
            trigger(self.search, [query, *wanted], results, **searching, **PRIVATE)
        results.select(like, wanted, results, **searching, **PRIVATE)
        examples.click(lambda sample: sample[0], examples, query, show_progress="hidden", **PRIVATE).then(
            self.search, [query, *wanted], results, **searching, **PRIVATE
        )
        watching = {"show_progress": "hidden", "concurrency_limit": None}
        blocks.load(self.watch, None, shown, **watching, **PRIVATE)
        add.click(self.add_listed, None, shown, **watching, **PRIVATE)
        upload.upload(self.add_upload, upload, [results, *shown], show_progress="minimal", **PRIVATE)

    def _build_filters(self) -> list:
        """The boxes that say which moments are wanted, in the order of `Wanted`."""
        gradio = self.gradio
        with gradio.Accordion("Which moments", open=False, elem_id="library-filters"):
            videos = gradio.Dropdown(
                [], label="Videos", info="None chosen: all", multiselect=True, elem_id="library-videos"
            )
            with gradio.Row():
                # Not gradio.Number, which turns what is empty into 0.
                shortest, longest = (
                    gradio.Textbox(label=label, placeholder="any", max_lines=1, elem_id=name, min_width=120)
                    for label, name in (("At least, seconds", "library-min"), ("At most, seconds", "library-max"))
                )
            threshold = gradio.Slider(
                0,
                100,
                value=0,
                step=5,
                label="Least confidence, %",
                info="0: show the nearest moments, whether they fit or not",
                elem_id="library-threshold",
                visible=False,
            )
        return [videos, shortest, longest, threshold]


def wanted_of(videos: list[str] | None, shortest: str, longest: str, percent: float | None) -> Wanted:
    """The wishes that the boxes say. Raises ConfigError where a length is no number."""
    return Wanted(tuple(videos or ()), seconds_of(shortest), seconds_of(longest), (percent or 0) / 100)


def seconds_of(text: str | None) -> float | None:
    """A number as it is typed, None where nothing is. Raises ConfigError where it is none, or not finite.

    >>> seconds_of("2.5"), seconds_of(" 2,5 "), seconds_of("")
    (2.5, 2.5, None)
    """
    text = (text or "").strip()
    if not text:
        return None
    try:
        seconds = float(text.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ConfigError(
            f"the length “{text}” is no number of seconds: type one such as 2.5, or nothing for any length"
        )
    return seconds
