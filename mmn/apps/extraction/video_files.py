"""Video files: which ones are meant, their names in the feature file, and who extracts which."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from mmn.utils.errors import ConfigError, DataError

# What is taken from a folder; a file that is named itself is tried whatever its extension.
EXTENSIONS = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)


@dataclass(frozen=True)
class VideoFile:
    """A video to extract.

    Attributes:
        video_id: its key in the feature file.
        size: bytes, 0 where the file cannot be looked at.
    """

    video_id: str
    path: str
    size: int


def list_videos(paths: Sequence[str], keep_extension: bool = False) -> list[VideoFile]:
    """The videos of folders, looked through in depth, and files, sorted by path, each once.

    Args:
        keep_extension: whether a video's id is its whole file name, as in TACoS; otherwise the extension is left out.
    Raises:
        DataError: where a folder has no video, or no path is given.
        ConfigError: where two files would have one id.
    """
    found: dict[str, VideoFile] = {}
    by_id: dict[str, str] = {}
    for path in sorted({os.path.normpath(file) for given in paths for file in _files_of(given)}):
        name = os.path.basename(path)
        video_id = name if keep_extension else os.path.splitext(name)[0]
        if video_id in by_id:
            raise ConfigError(
                f"the videos {by_id[video_id]} and {path} would both be {video_id!r} in the feature file: rename one, "
                "or extract them into two files"
            )
        by_id[video_id] = path
        found[path] = VideoFile(video_id, path, os.path.getsize(path) if os.path.isfile(path) else 0)
    if not found:
        raise DataError("there is no video to extract: name files, or folders with some in them")
    return list(found.values())


def _files_of(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    files = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")
    ]
    if not files:
        raise DataError(f"the folder {path} has no video in it: name another, or the files themselves")
    return files


def share_out(videos: Sequence[VideoFile], num_processes: int) -> list[list[VideoFile]]:
    """The videos of each process: about the same number of bytes for all, the largest ones given out first."""
    shares: list[list[VideoFile]] = [[] for _ in range(num_processes)]
    loads = [0] * num_processes
    for video in sorted(videos, key=lambda video: (-video.size, video.video_id)):
        process = loads.index(min(loads))
        shares[process].append(video)
        loads[process] += max(video.size, 1)
    return shares
