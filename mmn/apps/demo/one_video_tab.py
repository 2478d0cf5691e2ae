"""The tab "One video" of the page: a video is picked or uploaded, and searched."""

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from mmn.apps.demo.listed_videos import ListedVideo, PlayableCopies
from mmn.apps.demo.result_html import message_html, results_html
from mmn.apps.demo.tab_parts import NO_QUERY, PRIVATE, examples_of, query_row, readable
from mmn.apps.demo.video_search import VideoSearch
from mmn.utils.errors import UserError

LEGEND = (
    "**The scores of all moments.** Each cell is a moment: it starts at the second on the left and ends at the one below. "
    "Circles are the first moments of the list, squares the true ones."
)
EMPTY = "The moments will be listed here."
NUM_EXAMPLES = 8
NO_VIDEO = "Pick a video from the list, or upload one, before you ask."


class OneVideoTab:
    """The tab's events, as functions from inputs to outputs; `build` connects them to Gradio's components.

    Args:
        gradio: the library.
        search: asks the model.
        listed: the videos that can be picked.
        playable: copies of those that browsers do not play.
    """

    def __init__(
        self, gradio: ModuleType, search: VideoSearch, listed: Sequence[ListedVideo], playable: PlayableCopies
    ):
        self.gradio = gradio
        self.search = search
        self.playable = playable
        self.listed = {video.name: video for video in listed}

    # ---- Events ----

    def pick(self, name: str | None) -> tuple:
        """A video of the list -> path, player, examples, results, maps."""
        video = self.listed.get(name)
        if video is None:
            return self._show(None, None, (), message_html(NO_VIDEO))
        return self._open(video.path, tuple(video.sentences))

    def upload(self, path: str | None) -> tuple:
        """An uploaded file -> path, list, player, examples, results, maps."""
        if path is None:
            return (*self._show(None, None, (), message_html(NO_VIDEO)), None)
        return (*self._open(path, ()), None)

    def _open(self, path: str, examples: tuple[str, ...]) -> tuple:
        """Encode a video, so that questions are answered at once, and show it; or say what is wrong with it."""
        try:
            video = self.search.encode(path)
            shown = self.playable.path_of(path)
        except UserError as error:
            return self._show(None, None, (), message_html(readable(error), is_error=True))
        length = f"{video.name}: {video.duration:.1f} seconds. {EMPTY}"
        return self._show(path, shown, examples, message_html(length))

    def _show(self, path: str | None, shown: str | None, examples: tuple[str, ...], results: str) -> tuple:
        """path, player, examples, results, maps with their frame."""
        gradio = self.gradio
        samples = gradio.Dataset(samples=[[text] for text in examples[:NUM_EXAMPLES]], visible=bool(examples))
        return path, shown, samples, results, *self._maps(None)

    def ask(self, path: str | None, query: str) -> tuple:
        """The video shown and a sentence -> results, maps."""
        if not path:
            return message_html(NO_VIDEO, is_error=True), *self._maps(None)
        if not query.strip():
            return message_html(NO_QUERY, is_error=True), *self._maps(None)
        video = next((video for video in self.listed.values() if video.path == path), None)
        try:
            found = self.search.find(path, query, video.truth(query) if video else ())
        except UserError as error:
            return message_html(readable(error), is_error=True), *self._maps(None)
        return results_html(found), *self._maps(found.maps)

    def _maps(self, image: np.ndarray | None) -> tuple:
        """The maps' frame, shown where there are maps, and the maps."""
        return self.gradio.Column(visible=image is not None), image

    # ---- Layout ----

    def build(self, blocks) -> None:
        """Lay the tab out in the `gradio.Blocks` that is being made."""
        gradio = self.gradio
        names = list(self.listed)
        first = next(iter(names), None)
        path = gradio.State(None)
        with gradio.Row():
            with gradio.Column(scale=6):
                with gradio.Row(equal_height=True):
                    names_list = gradio.Dropdown(names, value=first, label="Video", elem_id="video-list", scale=3)
                    upload = gradio.UploadButton("Upload a video", elem_id="upload", scale=1, min_width=140)
                player = gradio.Video(show_label=False, elem_id="player", interactive=False, buttons=[])
            with gradio.Column(scale=5):
                query, button = query_row(gradio, "query", "Find", "find")
                examples = examples_of(gradio, query, "Known to happen in this video")
                results = gradio.HTML(message_html(NO_VIDEO), elem_id="results")
        with gradio.Column(visible=False) as frame:
            gradio.Markdown(LEGEND, elem_id="legend")
            maps = gradio.Image(show_label=False, elem_id="maps", interactive=False, buttons=[])
        opened = [path, player, examples, results, frame, maps]
        blocks.load(self.pick, names_list, opened, show_progress="minimal", **PRIVATE)
        names_list.input(self.pick, names_list, opened, show_progress="minimal", **PRIVATE)
        upload.upload(self.upload, upload, [*opened, names_list], show_progress="minimal", **PRIVATE)
        for trigger in (button.click, query.submit):
            trigger(self.ask, [path, query], [results, frame, maps], show_progress="minimal", **PRIVATE)
        examples.click(lambda sample: sample[0], examples, query, show_progress="hidden", **PRIVATE).then(
            self.ask, [path, query], [results, frame, maps], show_progress="minimal", **PRIVATE
        )
