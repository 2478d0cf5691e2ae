"""A library that the page makes itself: the videos of its list, and those that are uploaded."""

import dataclasses
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmn.apps.demo.listed_videos import ListedVideo, free_name
from mmn.apps.demo.tab_parts import readable
from mmn.apps.demo.video_library import Adding, LibraryState, VideoLibrary
from mmn.apps.demo.video_search import VideoSearch
from mmn.apps.search.indexed_video import BuildSettings, index_info, video_moments
from mmn.apps.search.moment_index import MomentIndex
from mmn.apps.search.vector_store import create_store
from mmn.utils.errors import UserError

if TYPE_CHECKING:
    from mmn.apps.localize.encoded_video import EncodedVideo

STORE = "exact"  # its threads may search while others add
SETTINGS = BuildSettings()


class GrowingLibrary(VideoLibrary):
    """An index in a temporary folder, empty at first, that lasts as long as this object.

    Args:
        search: encodes the videos; those that it was asked about already are there.
        listed: the videos of the page's list, which `start_adding` adds.
    """

    can_grow = True
    name = ""

    def __init__(self, search: VideoSearch, listed: Sequence[ListedVideo]):
        self._folder = tempfile.TemporaryDirectory(prefix="mmn_library_")
        place = os.path.join(self._folder.name, "index")
        store = create_store(place, index_info(search.localizer, SETTINGS), STORE)
        sentences = {video.name: video.sentences for video in listed if video.sentences}
        super().__init__(MomentIndex(store, search.localizer), sentences)
        self.search = search
        self.listed = tuple(listed)
        self.adding = None
        self._problems: tuple[str, ...] = ()
        self._thread: threading.Thread | None = None
        self._state_lock = threading.Lock()
        self._name_lock = threading.Lock()  # from a free name to a video of that name
        self._is_closing = threading.Event()

    def close(self) -> None:
        """Let go of the files, after the video that is being added."""
        self._is_closing.set()
        if self._thread is not None:
            self._thread.join()
        super().close()
        self._folder.cleanup()

    def state(self) -> LibraryState:
        with self._state_lock:
            adding, problems = self.adding, self._problems
        return dataclasses.replace(super().state(), num_missing=len(self._missing()), adding=adding, problems=problems)

    def add_upload(self, path: str) -> str:
        """Encode an uploaded file, keep it and add it -> its id. Raises UserError where the file cannot be used."""
        video = self.search.encode(path)
        kept = os.path.join(tempfile.mkdtemp(dir=self._folder.name), os.path.basename(path))
        try:
            os.link(path, kept)  # uploads are deleted after a day
        except OSError:
            shutil.copyfile(path, kept)
        with self._name_lock:
            name = free_name(video.name, self.index.store.videos().keys() | {video.name for video in self.listed})
            self._add(name, video, kept)
        return name

    # ---- The page's list ----

    def start_adding(self) -> None:
        """Add the videos of the list that are not there yet, in a thread; `state` says how far it is."""
        with self._state_lock:
            if self.adding is not None or self._is_closing.is_set():
                return
            missing = self._missing()
            self.adding, self._problems = Adding(0, len(missing)), ()
            self._thread = threading.Thread(target=self._add_all, args=(missing,), daemon=True)
            self._thread.start()

    def _missing(self) -> list[ListedVideo]:
        there = self.index.store.videos()
        return [video for video in self.listed if video.name not in there]

    def _add_all(self, videos: Sequence[ListedVideo]) -> None:
        problems: list[str] = []
        try:
            for done, video in enumerate(videos, start=1):
                if self._is_closing.is_set():
                    return
                try:
                    self._add(video.name, self.search.encode(video.path, keep=False), video.path)
                except UserError as error:
                    problems.append(readable(error))
                with self._state_lock:
                    self.adding = Adding(done, len(videos))
            self.index.store.optimize()
        except UserError as error:
            problems.append(readable(error))
        finally:
            with self._state_lock:
                self.adding, self._problems = None, tuple(problems)

    def _add(self, name: str, video: "EncodedVideo", path: str) -> None:
        self.index.store.put([video_moments(video, SETTINGS, path=path, video_id=name)])
