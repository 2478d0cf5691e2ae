"""A small untrained model, two videos, what is known of one of them, and a browser."""

import json
import shutil

import pytest
import torch
from localizing import checkpoint_content, colour_extractor
from small_videos import write_plain_video
from tiny import tiny_config

from mmn import MomentLocalizer
from mmn.apps.demo.growing_library import GrowingLibrary
from mmn.apps.demo.listed_videos import find_videos
from mmn.apps.demo.video_search import VideoSearch


@pytest.fixture(scope="session")
def demo_localizer(dataset_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "model.pth"
    torch.save(checkpoint_content(tiny_config(dataset_root, "output")), path)
    return MomentLocalizer.from_checkpoint(path, device="cpu", extractor=colour_extractor())


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory):
    """garden.mp4 and walk.mp4, 24 seconds each, and annotations.json of walk alone."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("walk", "garden"):
        write_plain_video(folder / f"{name}.mp4", num_frames=240, fps=10, height=48, width=64)
    known = {
        "duration": 24.0,
        "timestamps": [[3, 9], [10, 20]],
        "sentences": ["A man throws a ball.", "A box <b>opens."],
    }
    (folder / "annotations.json").write_text(json.dumps({"walk": known}))
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture
def search(demo_localizer):
    return VideoSearch(demo_localizer)


@pytest.fixture(scope="session")
def listed(video_folder):
    names = [str(video_folder / f"{name}.mp4") for name in ("walk", "garden")]
    return find_videos(names, str(video_folder / "annotations.json"))


@pytest.fixture
def growing(search, listed):
    """A library with nothing in it yet."""
    library = GrowingLibrary(search, listed)
    yield library
    library.close()


# ---- A browser -------------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A context of Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(20_000)
        yield context
        context.close()
