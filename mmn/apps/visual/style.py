"""The look that all pictures share, and how a figure becomes a file. matplotlib is imported when a figure is made."""

import contextlib
import io
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mmn.apps.visual.fonts import FONT, fit_fonts
from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which all common kinds of colour vision tell apart.
TRUTH = "#D55E00"  # vermillion: what is true, everywhere
PREDICTION = "#0072B2"  # blue: what was predicted, everywhere
SECOND = "#56B4E9"  # sky blue: the weaker form of a prediction, e.g. the best of five
GREEN, ORANGE, PINK, GREY = "#009E73", "#E69F00", "#CC79A7", "#8A8A8A"
SERIES = (PREDICTION, TRUTH, GREEN, ORANGE, PINK, SECOND, "#000000")  # lines of one chart, in this order
COLOUR_MAP = "viridis"

_STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "savefig.facecolor": "white",
}
DPI = 110
_lock = threading.RLock()


@contextlib.contextmanager
def styled_figure(width: float, height: float) -> "Iterator[Figure]":
    """A figure of `width` x `height` inches in the shared look, laid out so that no label is cut off.

    Draw within the block; other threads wait for its end, since the look is global in matplotlib. Raises UserError
    where matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("pictures need matplotlib, which is not installed: pip install .[plots]") from error
    with _lock, matplotlib.rc_context({**_STYLE, "font.family": [FONT]}):
        yield Figure(figsize=(width, height), layout="constrained")


def save_png(figure: "Figure", path: str) -> None:
    """Write the figure as a png file, whole or not at all."""
    fit_fonts(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def image_of(figure: "Figure") -> np.ndarray:
    """The figure as an image [H, W, 3] uint8 RGB."""
    from matplotlib.image import imread

    fit_fonts(figure)
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=DPI)
        file.seek(0)
        return np.round(imread(file)[..., :3] * 255).astype(np.uint8)


def plain_text(text: str, length: int = 200) -> str:
    """A query as one line that a figure can show: no control characters, at most `length` characters.

    Give it to matplotlib with `parse_math=False`, since a query may hold dollar signs.
    """
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
