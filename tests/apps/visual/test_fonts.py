"""Texts of any script in pictures: a font that has their characters, or one sentence about those that none has."""

import pytest

font_manager = pytest.importorskip("matplotlib.font_manager")

from mmn.apps.visual import fonts, image_of, styled_figure  # noqa: E402

SCRIPT, CHINESE = "\U0001d49c", "人"  # a script A is in STIXGeneral, which comes with matplotlib, not in DejaVu Sans


@pytest.fixture
def only_matplotlibs_fonts(monkeypatch):
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [entry for entry in manager.ttflist if "mpl-data" in entry.fname])
    monkeypatch.setattr(fonts, "_told", set())


def picture(text):
    with styled_figure(2, 1) as figure:
        drawn = figure.text(0.1, 0.5, text, parse_math=False)
        image = image_of(figure)
    return drawn, image


@pytest.mark.filterwarnings("error")
def test_character_is_drawn_by_an_installed_font_that_has_it(only_matplotlibs_fonts):
    drawn, image = picture(f"a {SCRIPT}")
    assert drawn.get_text() == f"a {SCRIPT}"
    assert drawn.get_fontfamily()[0] == fonts.FONT and len(drawn.get_fontfamily()) > 1
    assert (image != picture("a ?")[1]).any()


@pytest.mark.filterwarnings("error")
def test_character_that_no_font_has_is_said_once(only_matplotlibs_fonts, monkeypatch):
    said = []
    monkeypatch.setattr(fonts.get_logger(), "warning", lambda text, *values: said.append(text % values))
    for _ in range(2):
        drawn, _ = picture(f"a {CHINESE}{SCRIPT}")
    assert drawn.get_text() == f"a ?{SCRIPT}"
    (message,) = said
    assert f"no installed font has {CHINESE}: drawn as ?" in message


def test_plain_words_keep_the_font_that_is_the_same_everywhere(only_matplotlibs_fonts):
    assert picture("naïve $x$ café")[0].get_fontfamily() == [fonts.FONT]


def test_font_of_colour_pictures_alone_counts_for_nothing(tmp_path):
    (tmp_path / "emoji.ttf").write_bytes(b"no font")
    assert fonts._characters(str(tmp_path / "emoji.ttf")) == frozenset()
