"""Delivers the videos of a library and small pictures of them, and no other file."""

import functools
import io
import math
import threading
from importlib import import_module

from mmn.apps.demo.listed_videos import PlayableCopies, file_state
from mmn.apps.demo.tab_parts import readable
from mmn.apps.demo.video_library import VideoLibrary
from mmn.utils.errors import UserError

FRAME_SIZE = (192, 108)  # pixels that a picture fits into
KEPT_FRAMES = 1024
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}


def add_media(app, library: VideoLibrary, playable: PlayableCopies) -> None:
    """Routes of a FastAPI `app`: library/video?id=ID, and library/frame?id=ID&time=SECONDS.

    An answer is a file, in the form that browsers play, or 404 with a sentence. The ids are looked up in the library as it
    is at that time; nothing else says which file is read.
    """
    responses = import_module("fastapi.responses")
    frames = FramePictures()

    def answer(content):
        """The result of `content`, or the sentence of its failure. FastAPI calls the routes in threads of their own."""
        try:
            return content()
        except UserError as error:
            return responses.PlainTextResponse(readable(error), status_code=404, headers=HEADERS)

    @app.get("/library/video")
    def video(id: str):
        def content():
            path = playable.path_of(library.file_of(id))
            kind = "video/webm" if path.lower().endswith(".webm") else "video/mp4"
            return responses.FileResponse(path, media_type=kind, headers=HEADERS)

        return answer(content)

    @app.get("/library/frame")
    def frame(id: str, time: float):
        def content():
            return responses.Response(
                frames.picture(library.file_of(id), time), media_type="image/jpeg", headers=HEADERS
            )

        return answer(content)


class FramePictures:
    """Small pictures of moments of videos. The last ones are kept; two are made at a time."""

    def __init__(self):
        self._turn = threading.Semaphore(2)
        self._kept = functools.lru_cache(maxsize=KEPT_FRAMES)(self._make)

    def picture(self, path: str, time: float) -> bytes:
        """The frame on show at a time in seconds, as a jpeg file. Raises UserError where the video cannot be read."""
        return self._kept(file_state(path), time if math.isfinite(time) else 0.0)

    def _make(self, state: tuple, time: float) -> bytes:
        from PIL import Image  # Gradio brings it

        from mmn.apps.video.decode import frames_at

        with self._turn:
            (frame,) = frames_at(state[0], [time])
        image = Image.fromarray(frame.image)
        image.thumbnail(FRAME_SIZE)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        return file.getvalue()
