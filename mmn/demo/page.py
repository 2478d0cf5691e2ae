"""The page itself, in Gradio, and the server that delivers it. Nothing on it is fetched from elsewhere."""

import os
import socket
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from mmn.demo.results import message_html, results_html
from mmn.demo.search import VideoSearch
from mmn.demo.videos import LibraryVideo, PlayableCopies
from mmn.utils.errors import UserError
from mmn.utils.logger import get_logger

HERE = Path(__file__).parent
TITLE = "Find a moment in a video"
INTRODUCTION = (
    f"# {TITLE}\nPick a video or bring your own, say in a sentence what happens, and click a moment that was found."
)
LEGEND = (
    "**The scores of all moments.** Each cell is a moment: it starts at the second on the left and ends at the one below. "
    "Circles are the first moments of the list, squares the true ones."
)
EMPTY = "The moments will be listed here."
NO_VIDEO = "Pick a video from the list, or upload one, before you ask."
NO_QUERY = "Type what happens in the moment you look for, for example “a person opens a door”."
# The browser itself keeps the page from reaching outside. Gradio's scripts are inline and compile their templates.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
MAX_UPLOAD = "2gb"
KEPT_FILES = (3600, 24 * 3600)  # seconds: how often Gradio deletes uploads and other files, and from which age on


def import_gradio() -> ModuleType:
    """Gradio, told before it starts not to report its use. Raises UserError where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return import_module("gradio")
    except ImportError as error:
        raise UserError("the demo needs Gradio, which is not installed: pip install .[demo]") from error


class DemoPage:
    """What happens on the page, as functions from inputs to outputs; `build` connects them to Gradio's components.

    Args:
        search: asks the model.
        library: the videos that can be picked.
    """

    def __init__(self, search: VideoSearch, library: Sequence[LibraryVideo]):
        self.gradio = import_gradio()
        self.search = search
        self.playable = PlayableCopies()
        self.library = {video.name: video for video in library}

    # ---- Events ----

    def pick(self, name: str | None) -> tuple:
        """A video of the list -> path, player, examples, results, maps."""
        video = self.library.get(name)
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
        samples = gradio.Dataset(samples=[[text] for text in examples[:8]], visible=bool(examples))
        return path, shown, samples, results, *self._maps(None)

    def ask(self, path: str | None, query: str) -> tuple:
        """The video shown and a sentence -> results, maps."""
        if not path:
            return message_html(NO_VIDEO, is_error=True), *self._maps(None)
        if not query.strip():
            return message_html(NO_QUERY, is_error=True), *self._maps(None)
        video = next((video for video in self.library.values() if video.path == path), None)
        try:
            found = self.search.find(path, query, video.truth(query) if video else ())
        except UserError as error:
            return message_html(readable(error), is_error=True), *self._maps(None)
        return results_html(found), *self._maps(found.maps)

    def _maps(self, image: np.ndarray | None) -> tuple:
        """The maps' frame, shown where there are maps, and the maps."""
        return self.gradio.Column(visible=image is not None), image

    # ---- Layout ----

    def build(self):
        """The page as a `gradio.Blocks`."""
        gradio = self.gradio
        names = list(self.library)
        first = next(iter(names), None)
        with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=KEPT_FILES) as blocks:
            path = gradio.State(None)
            gradio.Markdown(INTRODUCTION, elem_id="title")
            with gradio.Row():
                with gradio.Column(scale=6):
                    with gradio.Row(equal_height=True):
                        names_list = gradio.Dropdown(names, value=first, label="Video", elem_id="library", scale=3)
                        upload = gradio.UploadButton("Upload a video", elem_id="upload", scale=1, min_width=140)
                    player = gradio.Video(show_label=False, elem_id="player", interactive=False, buttons=[])
                with gradio.Column(scale=5):
                    with gradio.Row(equal_height=True):
                        query = gradio.Textbox(
                            label="What happens?",
                            placeholder="a person opens a door",
                            elem_id="query",
                            scale=4,
                            max_lines=3,
                        )
                        button = gradio.Button("Find", variant="primary", elem_id="find", scale=1, min_width=80)
                    examples = gradio.Dataset(
                        components=[query],
                        samples=[[""]],
                        label="Known to happen in this video",
                        visible=False,
                        type="values",
                    )
                    results = gradio.HTML(message_html(NO_VIDEO), elem_id="results")
            with gradio.Column(visible=False) as frame:
                gradio.Markdown(LEGEND, elem_id="legend")
                maps = gradio.Image(show_label=False, elem_id="maps", interactive=False, buttons=[])
            private = {"api_visibility": "private"}
            opened = [path, player, examples, results, frame, maps]
            blocks.load(self.pick, names_list, opened, show_progress="minimal", **private)
            names_list.input(self.pick, names_list, opened, show_progress="minimal", **private)
            upload.upload(self.upload, upload, [*opened, names_list], show_progress="minimal", **private)
            for trigger in (button.click, query.submit):
                trigger(self.ask, [path, query], [results, frame, maps], show_progress="minimal", **private)
            examples.click(lambda sample: sample[0], examples, query, show_progress="hidden", **private).then(
                self.ask, [path, query], [results, frame, maps], show_progress="minimal", **private
            )
        return blocks


def readable(error: UserError) -> str:
    """An error's sentence as it stands on the page: an uploaded file's folder on the server is nobody's business."""
    words = [os.path.basename(word) if word.startswith(os.sep) else word for word in str(error).split(" ")]
    sentence = " ".join(words)
    return sentence + ("" if sentence.endswith((".", "!")) else ".")


def build_app(search: VideoSearch, library: Sequence[LibraryVideo]):
    """The web application (ASGI): the page at "/", with a policy that lets it reach nothing but this server."""
    page = DemoPage(search, library)
    gradio = page.gradio
    fastapi = import_module("fastapi")
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def add_policy(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    fonts = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    return gradio.mount_gradio_app(
        app,
        page.build(),
        path="/",
        allowed_paths=[*(video.path for video in library), page.playable.folder],
        max_file_size=MAX_UPLOAD,
        theme=gradio.themes.Default(primary_hue="blue", font=fonts, font_mono=["ui-monospace", "monospace"]),
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        head=f"<script>{(HERE / 'player.js').read_text(encoding='utf-8')}</script>",
        ssr_mode=False,
        footer_links=[],
    )


def serve(search: VideoSearch, library: Sequence[LibraryVideo], host: str, port: int) -> None:
    """Deliver the page until the process is interrupted. Raises UserError where the port cannot be had."""
    app = build_app(search, library)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise UserError(f"the demo cannot listen on {host}:{port} ({error}): choose another --port") from error
    get_logger().info("open http://%s:%d in a browser; Ctrl-C ends the demo", host, port)
    import_module("uvicorn").run(app, host=host, port=port, log_level="warning")
