"""Small videos for tests: plain colours, whose frames tell their number, made in milliseconds."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

# Far apart in brightness and hue, so that a frame is known again after coding.
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 40),
    "blue": (20, 40, 230),
    "yellow": (240, 230, 30),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
    "grey": (128, 128, 128),
}


def require_av():
    """PyAV; without it the test that needs a video is skipped."""
    return pytest.importorskip("av", reason="PyAV is not installed: pip install .[video]")


def plain_frames(num_frames: int, height: int = 32, width: int = 32) -> Iterator[np.ndarray]:
    """Frame i is filled with the colour i modulo the number of COLOURS; uint8 [height, width, 3] RGB."""
    values = np.array(list(COLOURS.values()), np.uint8)
    for index in range(num_frames):
        yield np.broadcast_to(values[index % len(values)], (height, width, 3)).copy()


def write_plain_video(path: Path, num_frames: int = 20, fps: float = 10, height: int = 32, width: int = 32) -> Path:
    require_av()
    from mmn.apps.video.encode import write_video

    write_video(path, plain_frames(num_frames, height, width), fps)
    return path


def nearest_colour(image: np.ndarray) -> str:
    """The name of the colour in the middle of an image [H, W, 3]."""
    middle = image[image.shape[0] // 2, image.shape[1] // 2].astype(float)
    return min(COLOURS, key=lambda name: np.abs(middle - COLOURS[name]).sum())


def write_avi(path: Path) -> Path:
    """2 seconds of MPEG-4 part 2, which no browser plays, 64 x 48."""
    av = require_av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in plain_frames(20, 48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return path
