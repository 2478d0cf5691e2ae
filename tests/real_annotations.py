"""Where the real annotation files are: MMN_ANNOTATIONS, by default ../shared/annotations beside the repository."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ANNOTATIONS = Path(os.environ.get("MMN_ANNOTATIONS") or ROOT.parent / "shared" / "annotations")

needs_real_annotations = pytest.mark.skipif(
    not ANNOTATIONS.is_dir(),
    reason=f"needs the real annotation files, not in {ANNOTATIONS}: set MMN_ANNOTATIONS to their folder",
)
