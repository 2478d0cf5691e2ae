"""The videos that can be picked on the page, and what is known to happen in them."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mmn.data.annotations import VideoAnnotation, read_annotations
from mmn.extraction.videos import EXTENSIONS
from mmn.utils.errors import DataError


@dataclass(frozen=True)
class LibraryVideo:
    """A video of the list.

    Attributes:
        name: what the list shows, unique in it.
        path: of its file.
        sentences: what is known to happen, as examples: sentence -> (start, end) in seconds, one or several.
    """

    name: str
    path: str
    sentences: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def truth(self, query: str) -> tuple[tuple[float, float], ...]:
        """The true moments of a query, where it is one of the sentences but for case, spaces and the full stop."""
        return {_plain(sentence): moments for sentence, moments in self.sentences.items()}.get(_plain(query), ())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .!")


def find_videos(places: Iterable[str], annotations: str | None = None) -> list[LibraryVideo]:
    """The videos of files and folders, in order, each once.

    Args:
        places: video files, and folders whose video files are taken in alphabetical order.
        annotations: a json file as training uses (SPEC section 1), whose video ids are file names without extension.
            Of folders, only the videos are taken that it has.
    Raises DataError where a place does not exist or a folder has no video.
    """
    known = {video.video_id: video for video in read_annotations(annotations)} if annotations else {}
    videos: dict[str, LibraryVideo] = {}
    for path in dict.fromkeys(path for place in places for path in _files_of(place, known if annotations else None)):
        name, number = path.stem, 2
        while name in videos:
            name, number = f"{path.stem} ({number})", number + 1
        videos[name] = LibraryVideo(name, os.fspath(path), _sentences_of(known.get(path.stem)))
    return list(videos.values())


def _files_of(place: str, wanted: Container[str] | None) -> list[Path]:
    """A file itself; of a folder its videos, or those whose names are wanted."""
    path = Path(place).absolute()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in EXTENSIONS and file.name[0] != ".")
        if not files:
            raise DataError(f"the folder {place} has no video file (.mp4, .mkv, .webm ...): name another")
        files = [file for file in files if wanted is None or file.stem in wanted]
        if not files:
            raise DataError(f"the annotations have no video of the folder {place}: give those of its videos")
        return files
    if not path.is_file():
        raise DataError(f"the video {place} does not exist: check the path")
    return [path]


def _sentences_of(video: VideoAnnotation | None) -> dict[str, tuple[tuple[float, float], ...]]:
    """Sentence -> its moments, of an annotated video or None."""
    sentences: dict[str, tuple[tuple[float, float], ...]] = {}
    if video is not None:
        for sentence, moment in zip(video.sentences, video.moments.tolist(), strict=True):
            sentence = sentence.strip()
            sentences[sentence] = (*sentences.get(sentence, ()), tuple(moment))
    return sentences


class PlayableCopies:
    """Copies, as browsers play them, of the videos that they do not play. They last as long as this object.

    Attributes:
        folder: where they are.
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mmn_demo_")
        self.folder = self._folder.name
        self._lock = threading.Lock()

    def path_of(self, path: str) -> str:
        """The file itself, or its copy, made anew the first time. Raises UserError where the file cannot be read."""
        from mmn.video.decode import probe  # these need an optional library
        from mmn.video.encode import cut_video

        if plays_in_browsers(path):
            return path
        state = os.stat(path)
        name = hashlib.sha256(repr((path, state.st_size, state.st_mtime_ns)).encode()).hexdigest()[:16]
        copy = os.path.join(self.folder, f"{name}.mp4")
        with self._lock:
            if not os.path.exists(copy):
                cut_video(path, 0.0, probe(path).duration, copy)
        return copy


def plays_in_browsers(path: str) -> bool:
    """Whether all usual browsers play a video file: mp4 with h264 in 8-bit 4:2:0, or webm."""
    from mmn.video.decode import import_av

    av = import_av()
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0].codec_context
        if "mp4" in container.format.name:
            return stream.name == "h264" and stream.pix_fmt in ("yuv420p", "yuvj420p")
        return path.lower().endswith(".webm") and stream.name in ("vp8", "libvpx", "vp9", "libvpx-vp9")
