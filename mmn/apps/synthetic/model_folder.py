"""A folder of a model in the Hugging Face layout, written beside an earlier one's files."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmn.utils.files import make_folder


@contextlib.contextmanager
def replaced_files(folder: str | os.PathLike) -> Iterator[Path]:
    """A folder to write files into; at the end each replaces its namesake in `folder`, which is made if missing."""
    folder = Path(folder)
    make_folder(str(folder), "the folder")
    with tempfile.TemporaryDirectory(prefix=".new_model-", dir=folder) as scratch:
        yield Path(scratch)
        for path in sorted(Path(scratch).iterdir()):
            os.replace(path, folder / path.name)
