"""The page's answers to programs: endpoints of Gradio's own API, beside the page's private events.

docs/PICTURES.md has an example. Programs reach the listed videos by their names, and bring others as uploads, which Gradio
checks; no path on the server is taken from them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import ModuleType
from typing import Any

from mmn.apps.demo.listed_videos import ListedVideo
from mmn.apps.demo.tab_parts import readable
from mmn.apps.demo.video_library import VideoLibrary, Wanted
from mmn.apps.demo.video_search import VideoSearch
from mmn.apps.localize.query_checks import checked_queries
from mmn.utils.errors import ConfigError, UserError, nearest

MAX_NAMES = 1000


class ProgramApi:
    """The endpoints, as functions; `build` connects them. Moments are {"start", "end", "score", ...}, best first.

    Args:
        gradio: the library of that name.
        search: asks the model about one video.
        listed: the videos that can be named.
        library: the videos that are searched together.
    """

    def __init__(self, gradio: ModuleType, search: VideoSearch, listed: Sequence[ListedVideo], library: VideoLibrary):
        self.gradio = gradio
        self.finder = search
        self.listed = {video.name: video for video in listed}
        self.library = library

    def videos(self) -> list[str]:
        """The names of the videos that `localize` knows, MAX_NAMES at most."""
        return list(self.listed)[:MAX_NAMES]

    def localize(self, video: str, sentence: str, top_k: int = 5) -> list[dict]:
        """The moments of a listed video that a sentence describes."""
        with self._told():
            known = self.listed.get(video) if isinstance(video, str) else None
            if known is None:
                raise ConfigError(f"there is no video {video!r} on this page{nearest(str(video), self.listed)}")
            return self._localize(known.path, sentence, top_k)

    def localize_file(self, file: str | None, sentence: str, top_k: float = 5) -> list[dict]:
        """The moments of an uploaded video that a sentence describes."""
        with self._told():
            if file is None:
                raise ConfigError("there is no video: upload one, by handle_file(PATH) of gradio_client")
            return self._localize(file, sentence, top_k)

    def search(self, sentence: str) -> list[dict]:
        """The best moments of all videos of the library, each with its video."""
        with self._told():
            return _plain(self.library.find(sentence, Wanted()).moments)

    def _localize(self, path: str, sentence: str, top_k: float) -> list[dict]:
        checked_queries([sentence])  # before the video is encoded
        top_k = int(top_k) if isinstance(top_k, float) and top_k.is_integer() else top_k
        (result,) = self.finder.localizer.localize(self.finder.encode(path), [sentence], top_k=top_k)
        return _plain(result.moments)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell a program of a user's mistake, as the page tells a visitor."""
        try:
            yield
        except UserError as error:
            raise self.gradio.Error(readable(error)) from error

    def build(self) -> None:
        """Add the endpoints to the `gradio.Blocks` that is being made."""
        gradio = self.gradio
        for endpoint in (self.videos, self.localize, self.search):
            gradio.api(endpoint, api_name=endpoint.__name__)
        file = gradio.File(visible=False)
        inputs = [file, gradio.Textbox(label="sentence", visible=False), gradio.Number(5, label="top_k", visible=False)]
        # A file comes in as a component's value alone: the server then makes sure that it was uploaded.
        gradio.Button(visible=False).click(
            self.localize_file, inputs, gradio.JSON(visible=False), api_name="localize_file"
        )


def _plain(moments: Iterable[Any]) -> list[dict]:
    return [asdict(moment) for moment in moments]
