"""Small video files of every kind, written with PyAV alone: frame i is grey of brightness 10 i, with a red corner."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from small_videos import require_av

MILLISECOND = Fraction(1, 1000)
EVEN = tuple(number / 10 for number in range(20))  # 2 s at 10 frames per second


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame `number`, [height, width, 3] uint8; the upper left corner is red."""
    image = np.full((height, width, 3), 10 * (number % 25), np.uint8)
    image[: height // 3, : width // 3] = (255, 0, 0)
    return image


def write_video(
    path: Path,
    times: Sequence[float] = EVEN,
    rotation: int = 0,
    codec: str = "libx264",
    sound_from: float | None = None,
    key_frame_every: int = 5,
    size: tuple[int, int] = (48, 64),
) -> Path:
    """A file whose frame i is shown from times[i] (seconds) on.

    Args:
        rotation: degrees that a player is to turn it, counterclockwise.
        sound_from: seconds at which a track of silence begins, a second long; None for no sound.
        size: height and width of the stored pictures.
    """
    av = require_av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"bf": "0"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = key_frame_every
        if Path(path).suffix != ".avi":  # which counts frames
            stream.codec_context.time_base = MILLISECOND
        if rotation:
            stream.set_display_rotation(rotation)
        sound = None if sound_from is None else container.add_stream("aac", rate=16000, layout="mono")
        unit = Fraction(1, 10) if Path(path).suffix == ".avi" else MILLISECOND
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = round(time / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _write_silence(container, sound, sound_from)
    return path


def _write_silence(container: Any, sound: Any, begin: float) -> None:
    import av

    for number in range(16):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, round(16000 * begin) + 1000 * number
        container.mux(sound.encode(frame))
    container.mux(sound.encode())


def number_of(image: np.ndarray) -> int:
    """Which frame a decoded picture is, by the brightness of its middle."""
    return round(float(image[image.shape[0] // 2, image.shape[1] // 2].mean()) / 10)


def red_corner(image: np.ndarray) -> str:
    """Where the red corner is: "upper left", ..."""
    for row, vertical in ((2, "upper"), (-3, "lower")):
        for column, horizontal in ((2, "left"), (-3, "right")):
            red, green, _ = image[row, column].astype(int)
            if red > 150 and green < 100:
                return f"{vertical} {horizontal}"
    return "nowhere"


def cut_off(path: Path, share: float = 0.5) -> Path:
    """The file, which loses all but its first `share`."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path
