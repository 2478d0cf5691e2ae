"""What tools/demo.py does: load the model, find the videos, deliver the page."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmn.demo.page import import_gradio, serve
from mmn.demo.search import VideoSearch
from mmn.demo.videos import find_videos
from mmn.engine.localization import ModelSource, load_localizer
from mmn.utils.errors import UserError


@dataclass(frozen=True)
class ExampleRun:
    """What scripts/pixels.sh leaves: a model, its frozen image encoder, and videos with what happens in them."""

    ckpt: str = "outputs/pixels/pool_model_best.pth"
    backbone_weights: str = "dataset/pixels/image_encoder"
    videos: str = "dataset/pixels/videos"
    annotations: str = "dataset/pixels/test.json"


EXAMPLE = ExampleRun()


def run_demo(source: ModelSource, videos: Sequence[str] | None, annotations: str | None, host: str, port: int) -> None:
    """Deliver the page until the process is interrupted.

    Args:
        source: the model; without a checkpoint, that of EXAMPLE, with its videos unless others are given.
        videos, annotations: see `find_videos`; None lists no video, so that the page offers uploads alone.
    Raises UserError for a missing library, model or video.
    """
    if not source.ckpt:
        if not os.path.exists(EXAMPLE.ckpt):
            raise UserError(
                f"there is no {EXAMPLE.ckpt}: make the example model by bash scripts/pixels.sh, or give --ckpt"
            )
        source = replace(
            source, ckpt=EXAMPLE.ckpt, backbone_weights=source.backbone_weights or EXAMPLE.backbone_weights
        )
        if videos is None:
            videos, annotations = [EXAMPLE.videos], annotations or EXAMPLE.annotations
    import_gradio()  # before the model, which takes longer
    library = find_videos(videos or (), annotations)
    serve(VideoSearch(load_localizer(source)), library, host, port)
