"""The work of tools/demo.py: load the model, find the videos, deliver the page."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmn.apps.demo.growing_library import GrowingLibrary
from mmn.apps.demo.listed_videos import ListedVideo, find_videos, read_sentences
from mmn.apps.demo.page import build_app, import_gradio, serve
from mmn.apps.demo.video_library import VideoLibrary
from mmn.apps.demo.video_search import VideoSearch
from mmn.apps.localize.model_source import ModelSource, load_localizer
from mmn.apps.localize.zero_shot import CONSE, zero_shot_address
from mmn.apps.search.moment_index import MomentIndex
from mmn.apps.search.search_command import checkpoint_of
from mmn.apps.search.vector_store import VectorStore, open_store

MAX_LISTED = 1000  # videos of an index that can be picked one by one


@dataclass(frozen=True)
class ExampleRun:
    """The files that scripts/pixels.sh leaves: a model, its frozen image encoder, and videos with what happens in them."""

    ckpt: str = "outputs/pixels/pool_model_best.pth"
    backbone_weights: str = "dataset/pixels/image_encoder"
    videos: str = "dataset/pixels/videos"
    annotations: str = "dataset/pixels/test.json"


EXAMPLE = ExampleRun()
PAGE_MODEL = zero_shot_address(CONSE)
"""A model for videos of one's own that needs neither network nor training; a log line says so."""


@dataclass(frozen=True)
class PageVideos:
    """The videos of the page.

    Attributes:
        videos, annotations: see `find_videos`; None lists no video, so that the page offers uploads alone, or those of the
            index.
        index: the place of the index that is the library; None for one that the page makes of its videos.
    """

    videos: Sequence[str] | None = None
    annotations: str | None = None
    index: str | None = None


def run_demo(source: ModelSource, videos: PageVideos, host: str, port: int) -> None:
    """Deliver the page until the process is interrupted.

    Args:
        source: the model; without a checkpoint, that of the index; or of EXAMPLE with its videos, where it has been made
            and no others are given; else PAGE_MODEL.
    Raises UserError for a missing library, model, video or index, and for an index of another model.
    """
    import_gradio()  # before the model, which takes longer
    store = open_store(videos.index) if videos.index else None
    source, videos, is_example = _with_defaults(source, videos, store)
    search_one = VideoSearch(load_localizer(source))
    if store is None:
        listed = find_videos(videos.videos or (), videos.annotations)
        library = GrowingLibrary(search_one, listed)
        if is_example:
            library.start_adding()
    else:
        index = MomentIndex(store, search_one.localizer)
        listed, library = _with_index(index, videos)
    with contextlib.closing(library):
        serve(build_app(search_one, listed, library, begins_with_library=store is not None), host, port)


def _with_defaults(
    source: ModelSource, videos: PageVideos, store: VectorStore | None
) -> tuple[ModelSource, PageVideos, bool]:
    """Model and videos, where they are not given, and whether they are those of EXAMPLE."""
    if source.ckpt:
        return source, videos, False
    if store is not None:
        return replace(source, ckpt=checkpoint_of(store)), videos, False
    if videos.videos is not None or not os.path.exists(EXAMPLE.ckpt):
        return replace(source, ckpt=PAGE_MODEL), videos, False
    source = replace(source, ckpt=EXAMPLE.ckpt, backbone_weights=source.backbone_weights or EXAMPLE.backbone_weights)
    videos = replace(videos, videos=[EXAMPLE.videos], annotations=videos.annotations or EXAMPLE.annotations)
    return source, videos, True


def _with_index(index: MomentIndex, videos: PageVideos) -> tuple[list[ListedVideo], VideoLibrary]:
    """The videos that can be picked, by default those of the index whose files are there, and the library."""
    sentences = read_sentences(videos.annotations) if videos.annotations else {}
    files = {video.name: video.path for video in find_videos(videos.videos)} if videos.videos else {}
    library = VideoLibrary(index, sentences, files)
    if videos.videos:
        return find_videos(videos.videos, videos.annotations), library
    paths = {name: library.path_of(name) for name in library.names(MAX_LISTED)}
    return [ListedVideo(name, path, sentences.get(name, {})) for name, path in paths.items() if path], library
