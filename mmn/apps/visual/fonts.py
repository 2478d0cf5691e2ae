"""Fonts for texts of any script: each character is drawn by an installed font that has it, or its lack is said once."""

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mmn.utils.logger import get_logger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT = "DejaVu Sans"  # comes with matplotlib, so that a picture is the same everywhere
PLACEHOLDER = "?"  # for a character that no font has, in place of a box
UNSEEN = set(range(0xFE00, 0xFE10)) | {0x200D, 0x20E3}  # variants and joints of emoji, of which the parts are drawn
_told: set[str] = set()


def fit_fonts(figure: "Figure") -> None:
    """Give every text of a figure the fonts that its characters need, and replace what no font has by PLACEHOLDER.

    What is missing is logged, once per character.
    """
    from matplotlib.text import Text

    base = _base_characters()
    for text in figure.findobj(Text):
        words = text.get_text()
        if base.issuperset(map(ord, words)):
            continue
        words = "".join(character for character in words if ord(character) not in UNSEEN - base)
        families, missing = find_fonts(
            {character for character in words if ord(character) not in base and character != "\n"}
        )
        text.set_fontfamily([FONT, *families])
        text.set_text("".join(PLACEHOLDER if character in missing else character for character in words))
        _tell(missing)


def find_fonts(characters: Iterable[str]) -> tuple[list[str], set[str]]:
    """Names of installed fonts that together have the characters, and those that none has."""
    left, names = set(characters), []
    for name, known in _further_fonts() if left else ():
        found = {character for character in left if ord(character) in known}
        if found:
            names.append(name)
            left -= found
        if not left:
            break
    return names, left


def _tell(missing: set[str]) -> None:
    new = sorted(missing - _told)
    if new:
        _told.update(new)
        get_logger().warning(
            "no installed font has %s: drawn as %s; a font that has them, such as Noto Sans of the script, must be "
            "installed where matplotlib finds it",
            " ".join(new),
            PLACEHOLDER,
        )


@functools.cache
def _base_characters() -> frozenset[int]:
    from matplotlib import font_manager

    return _characters(font_manager.findfont(FONT))


def _further_fonts() -> Iterator[tuple[str, frozenset[int]]]:
    """Name and characters of the other upright fonts that can be drawn at any size, sans-serif ones of Noto first."""
    from matplotlib import font_manager

    entries = font_manager.fontManager.ttflist
    usual = {entry.name: entry for entry in entries if entry.style == "normal" and "Last Resort" not in entry.name}
    for name in sorted(usual, key=lambda name: (not name.startswith("Noto Sans"), "Sans" not in name, name)):
        yield name, _characters(font_manager.findfont(font_manager.FontProperties(family=[name])))


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """Code points of a font; none where it cannot be drawn, as pictures of emoji in one size cannot."""
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()
