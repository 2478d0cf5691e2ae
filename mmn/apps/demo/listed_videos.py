"""The videos that can be picked on the page, and what is known to happen in them."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mmn.apps.extraction.video_files import EXTENSIONS
from mmn.data.annotations import VideoAnnotation, read_annotations
from mmn.utils.errors import DataError


@dataclass(frozen=True)
class ListedVideo:
    """A video of the list.

    Attributes:
        name: a text unique in the list, which shows it.
        path: its file.
        sentences: examples of what is known to happen: sentence -> (start, end) in seconds, one or several.
    """

    name: str
    path: str
    sentences: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def truth(self, query: str) -> tuple[tuple[float, float], ...]:
        """The true moments of a query, where it is one of the sentences but for case, spaces and the full stop."""
        return {plain(sentence): moments for sentence, moments in self.sentences.items()}.get(plain(query), ())


def plain(text: str) -> str:
    """A sentence without what does not matter: case, spaces and the full stop."""
    return " ".join(text.casefold().split()).rstrip(" .!")


def find_videos(places: Iterable[str], annotations: str | None = None) -> list[ListedVideo]:
    """The videos of files and folders, in order, each once.

    Args:
        places: video files, and folders whose video files are taken in alphabetical order.
        annotations: an annotation file as training uses (dataset/README.md), whose video ids are file names without
            extension.
            Of folders, only the videos are taken that it has.
    Raises DataError where a place does not exist or a folder has no video.
    """
    known = read_sentences(annotations) if annotations else {}
    videos: dict[str, ListedVideo] = {}
    for path in dict.fromkeys(path for place in places for path in _files_of(place, known if annotations else None)):
        name = free_name(path.stem, videos)
        videos[name] = ListedVideo(name, os.fspath(path), known.get(path.stem, {}))
    return list(videos.values())


def free_name(name: str, taken: Container[str]) -> str:
    """The name itself, or with the first number that makes it another than those taken."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free


def read_sentences(annotations: str) -> dict[str, dict[str, tuple[tuple[float, float], ...]]]:
    """The sentences of an annotation file: video id -> sentence -> (start, end) in seconds, one or several."""
    return {video.video_id: _sentences_of(video) for video in read_annotations(annotations)}


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


def _sentences_of(video: VideoAnnotation) -> dict[str, tuple[tuple[float, float], ...]]:
    """Sentence -> its moments."""
    sentences: dict[str, tuple[tuple[float, float], ...]] = {}
    for sentence, moments in zip(video.sentences, video.moments_by_sentence, strict=True):
        sentence = sentence.strip()
        sentences[sentence] = (*sentences.get(sentence, ()), *map(tuple, moments.tolist()))
    return sentences


def file_state(path: str) -> tuple:
    """Equal as long as a file has not changed."""
    try:
        state = os.stat(path)
    except OSError:  # who reads it says what is wrong
        return (path,)
    return (path, state.st_size, state.st_mtime_ns)


class PlayableCopies:
    """Copies, as browsers play them, of the videos that they do not play. They last as long as this object.

    Attributes:
        folder: the place of the copies.
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mmn_demo_")
        self.folder = self._folder.name
        self._known: dict[tuple, str] = {}
        self._lock = threading.Lock()  # one video is converted at a time

    def path_of(self, path: str) -> str:
        """The file itself, or its copy, made anew the first time. Raises UserError where the file cannot be read."""
        state = file_state(path)
        if state not in self._known:
            self._known[state] = self._find_or_make(path, state)
        return self._known[state]

    def _find_or_make(self, path: str, state: tuple) -> str:
        from mmn.apps.video.decode import probe  # these need an optional library
        from mmn.apps.video.encode import cut_video

        duration = probe(path).duration
        if plays_in_browsers(path):
            return path
        name = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
        copy = os.path.join(self.folder, f"{name}.mp4")
        with self._lock:
            if not os.path.exists(copy):
                cut_video(path, 0.0, duration, copy)
        return copy


def plays_in_browsers(path: str) -> bool:
    """Tell whether all usual browsers play a video file: mp4 with h264 in 8-bit 4:2:0, or webm."""
    from mmn.apps.video.decode import import_av

    av = import_av()
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0].codec_context
        if "mp4" in container.format.name:
            return stream.name == "h264" and stream.pix_fmt in ("yuv420p", "yuvj420p")
        return path.lower().endswith(".webm") and stream.name in ("vp8", "libvpx", "vp9", "libvpx-vp9")
