"""Decoding by torchcodec in the place of PyAV, where it is installed; what a file is and where it ends, PyAV says."""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from mmn.utils.errors import DataError
from mmn.utils.logger import get_logger

FRAMES_AT_ONCE = 16


@functools.cache
def torchcodec_decoder() -> type | None:
    """torchcodec's VideoDecoder; None where it is not installed, or, with a warning, where it cannot be used."""
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder
    except ModuleNotFoundError as error:
        if error.name == "torchcodec":
            return None
        reason = str(error)
    except (ImportError, OSError, RuntimeError) as error:  # its libraries fit neither this torch nor FFmpeg
        reason = str(error).strip().splitlines()[0]
    else:
        if tuple(map(int, torchcodec.__version__.split(".")[:2])) >= (0, 17):
            return VideoDecoder
        reason = f"version {torchcodec.__version__} is older than 0.17 and may leave pictures unturned"
    get_logger().warning("torchcodec is installed but not used (%s): videos are decoded by PyAV", reason)
    return None


def decoder_version() -> tuple[str, str]:
    """(name, version) of the library that decodes."""
    import av

    if torchcodec_decoder() is None:
        return "av", av.__version__
    import torchcodec

    return "torchcodec", torchcodec.__version__


class TorchcodecReader:
    """The frames of one file.

    Args:
        decoder: torchcodec's VideoDecoder.
        zero: time that the file's own clock shows at its start, in seconds.
    Raises DataError where torchcodec cannot open the file.
    """

    def __init__(self, decoder: type, path: str, zero: float):
        self.path = path
        self.zero = zero
        try:
            # "exact" looks at all packets first, without which a varying frame rate would be taken for an even one.
            self.decoder = decoder(path, seek_mode="exact", dimension_order="NHWC", num_ffmpeg_threads=0)
        except (RuntimeError, ValueError, OSError) as error:
            raise self._damage(error) from error
        self.begin = self.decoder.metadata.begin_stream_seconds - zero
        self.end = self.decoder.metadata.end_stream_seconds - zero

    def sampled(self, times: Iterator[float], tolerance: float) -> Iterator[tuple[float, np.ndarray]]:
        """(time, picture [H, W, 3]) for ascending times before the end; before the first frame, the first frame."""
        latest = np.nextafter(self.end, self.begin)
        while chunk := list(itertools.islice(times, FRAMES_AT_ONCE)):
            shown = [float(min(max(time + tolerance, self.begin), latest)) + self.zero for time in chunk]
            batch = self._fetch(self.decoder.get_frames_played_at, shown)
            yield from zip(chunk, batch.data.numpy(), strict=True)

    def every(self) -> Iterator[tuple[float, np.ndarray]]:
        """(time, picture) of all frames."""
        for first in range(0, len(self.decoder), FRAMES_AT_ONCE):
            batch = self._fetch(self.decoder.get_frames_in_range, first, min(first + FRAMES_AT_ONCE, len(self.decoder)))
            yield from zip((batch.pts_seconds - self.zero).tolist(), batch.data.numpy(), strict=True)

    def _fetch(self, get: Callable, *args):
        try:
            return get(*args)
        except (RuntimeError, IndexError, OSError) as error:
            raise self._damage(error) from error

    def _damage(self, error: Exception) -> DataError:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return DataError(f"{self.path} cannot be decoded ({reason}): fetch or make the file again")
