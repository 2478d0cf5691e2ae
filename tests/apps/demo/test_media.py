"""Which files of a library are delivered, and in which form."""

import io
from pathlib import Path

import numpy as np
import pytest
from small_videos import nearest_colour, write_avi, write_plain_video

from mmn.apps.demo.growing_library import GrowingLibrary
from mmn.apps.demo.listed_videos import PlayableCopies
from mmn.apps.demo.media import FramePictures, add_media
from mmn.utils.errors import DataError


@pytest.fixture
def client(growing, tmp_path):
    """A server of the media of `growing`, which has walk.mp4 (1 frame per second) and old.avi."""
    fastapi = pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    growing.add_upload(str(write_plain_video(tmp_path / "film.mp4", num_frames=7, fps=1)))
    growing.add_upload(str(write_avi(tmp_path / "old.avi")))
    app = fastapi.FastAPI()
    add_media(app, growing, PlayableCopies())
    return TestClient(app)


def video(client, name, **headers):
    return client.get("/library/video", params={"id": name}, headers=headers)


def frame(client, name, time):
    return client.get("/library/frame", params={"id": name, "time": time})


def test_video_is_delivered_whole_and_in_parts(client, growing):
    content = Path(growing.file_of("film")).read_bytes()
    reply = video(client, "film")
    assert (reply.status_code, reply.headers["content-type"], reply.content) == (200, "video/mp4", content)
    reply = video(client, "film", Range="bytes=10-19")
    assert (reply.status_code, reply.content) == (206, content[10:20])


def test_video_that_browsers_do_not_play_is_delivered_as_one_that_they_do(client, tmp_path):
    reply = video(client, "old")
    assert reply.status_code == 200 and reply.headers["content-type"] == "video/mp4"
    assert b"ftyp" in reply.content[:16]


def test_name_of_a_file_never_says_what_it_is(client, growing, tmp_path):
    """Otherwise an uploaded film that is called a web page would be one."""
    path = write_plain_video(tmp_path / "page.mp4").rename(tmp_path / "page.html")
    growing.add_upload(str(path))
    reply = video(client, "page")
    assert reply.headers["content-type"] == "video/mp4" and reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["none", "", "../film", "/etc/passwd", "walk"])
def test_only_videos_of_the_library_are_delivered(client, name):
    """walk is in the page's list, but was not added."""
    for reply in (video(client, name), frame(client, name, 0)):
        assert reply.status_code == 404 and reply.text.startswith("the library has no video")


def test_file_of_the_library_that_is_no_video_is_not_delivered(client, growing):
    path = growing.file_of("film")
    Path(path).write_text("a secret")
    for reply in (video(client, "film"), frame(client, "film", 0)):
        assert reply.status_code == 404 and "no video" in reply.text and "secret" not in reply.text
        assert path not in reply.text


@pytest.mark.parametrize(
    "time, colour", [(0, "red"), (2.4, "blue"), (5.9, "black"), (100, "grey"), (-3, "red"), ("nan", "red")]
)
def test_frame_is_the_one_on_show(client, time, colour):
    from PIL import Image

    reply = frame(client, "film", time)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/jpeg")
    image = np.asarray(Image.open(io.BytesIO(reply.content)))
    assert nearest_colour(image) == colour and max(image.shape) <= 192


def test_frame_is_made_once_until_the_file_changes(tmp_path, monkeypatch):
    from mmn.apps.video import decode

    made = []
    frames_at = decode.frames_at
    monkeypatch.setattr(decode, "frames_at", lambda path, times: made.append(times) or frames_at(path, times))
    pictures, path = FramePictures(), tmp_path / "film.mp4"
    write_plain_video(path)
    first = pictures.picture(str(path), 0.0)
    assert pictures.picture(str(path), 0.0) == first and len(made) == 1
    write_plain_video(path, num_frames=30)
    pictures.picture(str(path), 0.0)
    assert len(made) == 2
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        pictures.picture(str(path), 0.0)


def test_media_of_a_library_are_there_as_soon_as_they_are_added(client, growing, listed):
    assert isinstance(growing, GrowingLibrary) and video(client, "walk").status_code == 404
    growing.start_adding()
    growing._thread.join(60)
    assert video(client, "walk").content == Path(listed[0].path).read_bytes()
