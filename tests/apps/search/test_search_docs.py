"""The worked example of the documentation runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from localizing import RECIPE, checkpoint_content, colour_extractor, random_rows
from small_videos import write_plain_video
from tiny import ROOT, tiny_config

from mmn import MomentIndex, MomentLocalizer, SearchResult
from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.search.confidence import fit_calibration
from mmn.apps.search.indexed_video import BuildSettings, index_info, video_moments
from mmn.apps.search.vector_store import create_store

SECTIONS = ("Search from Python", "Nothing fits")


def python_blocks():
    """The blocks of the sections that say how to search from Python, in order."""
    text = (ROOT / "docs" / "SEARCH.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE))
    return [block for name in SECTIONS for block in re.findall(r"```python\n(.*?)```", sections[name], re.DOTALL)]


@pytest.fixture
def workplace(dataset_root, tmp_path, monkeypatch):
    """A folder with what the example names: a checkpoint, a calibrated index `library` of four videos, a video file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FeatureExtractor, "from_recipe", lambda *_, **__: colour_extractor())
    cfg = tiny_config(dataset_root, "output")
    torch.save(checkpoint_content(cfg, feature_recipe=RECIPE.to_dict()), "pool_model_best.pth")
    localizer, settings = MomentLocalizer.from_checkpoint("pool_model_best.pth", device="cpu"), BuildSettings()
    null = np.random.default_rng(0).uniform(0, 0.5, (50, 20))
    calibration = fit_calibration("val", null, np.zeros(null.shape, bool)).to_dict()
    with create_store("library", index_info(localizer, settings).with_calibration(calibration), "exact") as store:
        films = [localizer.encode_video(random_rows(40, number), 30.0, name=f"film_{number}") for number in range(4)]
        store.put([video_moments(film, settings) for film in films])
    write_plain_video(Path("elsewhere.mp4"), num_frames=220, fps=10)


def test_example_of_the_documentation_runs(workplace, capsys):
    blocks = python_blocks()
    assert len(blocks) >= 6
    names = {}
    for block in blocks:
        exec(compile(block, "docs", "exec"), names)
    assert isinstance(names["index"], MomentIndex) and len(names["more"].moments) == 6  # three of each video
    assert {moment.video for moment in names["more"].moments} == {"film_0", "film_1"}
    assert isinstance(names["result"], SearchResult)
    assert len(capsys.readouterr().out.splitlines()) >= 10  # the moments of the first block
    names["index"].close()
