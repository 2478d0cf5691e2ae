"""The page itself, in Gradio, and the server that delivers it. Nothing on it is fetched from elsewhere."""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from mmn.apps.demo.library_tab import LibraryTab
from mmn.apps.demo.listed_videos import ListedVideo, PlayableCopies
from mmn.apps.demo.media import add_media
from mmn.apps.demo.one_video_tab import OneVideoTab
from mmn.apps.demo.program_api import ProgramApi
from mmn.apps.demo.video_library import VideoLibrary
from mmn.apps.demo.video_search import VideoSearch
from mmn.utils.errors import UserError, failed_read
from mmn.utils.logger import get_logger

HERE = Path(__file__).parent
TITLE = "Find a moment in a video"
INTRODUCTION = f"# {TITLE}\nSay in a sentence what happens, in one video or in many, and click a moment that was found."
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
    """The tabs of the page.

    Args:
        search: asks the model about one video.
        listed: the videos that can be picked.
        library: the videos that are searched together.
        begins_with_library: whether the page opens with their tab.
    """

    def __init__(
        self,
        search: VideoSearch,
        listed: Sequence[ListedVideo],
        library: VideoLibrary,
        begins_with_library: bool = False,
    ):
        self.gradio = import_gradio()
        self.playable = PlayableCopies()
        self.library = library
        self.begins_with_library = begins_with_library
        self.one_video = OneVideoTab(self.gradio, search, listed, self.playable)
        self.library_tab = LibraryTab(self.gradio, library)
        self.program_api = ProgramApi(self.gradio, search, listed, library)

    def build(self):
        """The page as a `gradio.Blocks`."""
        gradio = self.gradio
        with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=KEPT_FILES) as blocks:
            self.program_api.build()  # first, so that its names are taken
            gradio.Markdown(INTRODUCTION, elem_id="title")
            with gradio.Tabs(selected="library" if self.begins_with_library else "one", elem_id="tabs"):
                with gradio.Tab("One video", id="one", render_children=True):
                    self.one_video.build(blocks)
                with gradio.Tab("Library", id="library", render_children=True):
                    self.library_tab.build(blocks)
        return blocks


def build_app(
    search: VideoSearch, listed: Sequence[ListedVideo], library: VideoLibrary, begins_with_library: bool = False
):
    """The web application (ASGI): the page at "/", with a policy that lets it reach nothing but this server."""
    page = DemoPage(search, listed, library, begins_with_library)
    gradio = page.gradio
    fastapi = import_module("fastapi")
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def add_policy(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    add_media(app, library, page.playable)
    fonts = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    return gradio.mount_gradio_app(
        app,
        page.build(),
        path="/",
        allowed_paths=[*(video.path for video in listed), page.playable.folder],
        max_file_size=MAX_UPLOAD,
        theme=gradio.themes.Default(primary_hue="blue", font=fonts, font_mono=["ui-monospace", "monospace"]),
        css=_text_of("page.css"),
        head=f"<style>{_text_of('narrow.css')}</style><script>{_text_of('player.js')}</script>",
        ssr_mode=False,
        footer_links=[],
    )


def _text_of(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def serve(app, host: str, port: int) -> None:
    """Deliver the page until the process is interrupted. Raises UserError where the port cannot be had."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"the demo cannot listen on {host}:{port} ({failed_read(error)}): choose another --port"
            ) from error
    # The server raises the signal again when it has ended; only as an exit does it let temporary folders be deleted.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    get_logger().info("open http://%s:%d in a browser; Ctrl-C ends the demo", host, port)
    import_module("uvicorn").run(app, host=host, port=port, log_level="warning")
