"""The html of what is found in a library, and of the library itself."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.demo.library_html import MAX_TRUTH, add_label, library_html, player_html, state_html
from mmn.apps.demo.video_library import Adding, FoundInLibrary, LibraryFound, LibraryState, ShownMoment

TEXTS = st.text(max_size=20) | st.sampled_from(
    ['"><script>alert(1)</script>', "a&amp;b", 'it\'s "1"', "<b>", "{{7}} ${7}"]
)


class Elements(HTMLParser):
    """All (tag, attributes), and the text between."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def having(self, name):
        return [attributes for _, attributes in self.found if name in attributes]


def hit(video="walk", start=5.0, end=15.0, **changes):
    return FoundInLibrary(video, 20.0, start, end, **({"score": 0.5} | changes))


def found(*moments, **changes):
    return LibraryFound(**({"asked": "“a man”", "num_videos": 7, "moments": moments} | changes))


def test_moment_says_what_to_play_and_where_it_lies():
    (button,) = Elements(library_html(found(hit("a b/ü", 5, 15)))).having("data-start")
    assert (button["data-start"], button["data-end"]) == ("5.000", "15.000")
    assert button["data-source"] == "library/video?id=a%20b%2F%C3%BC"
    assert button["data-caption"] == "a b/ü, 0:05.0 to 0:15.0" and button["data-problem"] == ""
    assert 'style="left:25.00%;width:50.00%"' in library_html(found(hit()))


def test_moments_that_fit_badly_stand_muted_below_a_sentence():
    text = library_html(found(hit(), hit(), weak="Nothing fits well."))
    assert text.index("Nothing fits well.") < text.index("2 moments in 1 of 7 videos") < text.index('class="moment"')
    assert '<div class="found weak">' in text
    assert "weak" not in library_html(found(hit()))


def test_moments_are_ranked_and_counted():
    page = Elements(library_html(found(hit("a"), hit("b"), hit("a", 0, 1))))
    assert re.findall(r"([123])([ab])0:", page.text) == [("1", "a"), ("2", "b"), ("3", "a")]
    assert "3 moments in 2 of 7 videos." in page.text
    assert "1 moment in 1 of 1 video." in Elements(library_html(found(hit(), num_videos=1))).text


def test_notes_are_what_is_known():
    assert "score 0.50<" in library_html(found(hit()))
    text = library_html(found(hit(confidence=0.876, iou=0.333, truth=((4.0, 8.0),))))
    assert "score 0.50 · confidence 88 % · IoU 0.33" in text
    assert '<span class="true" style="left:20.00%;width:20.00%">' in text


def test_more_like_this_names_the_moment():
    (button,) = Elements(library_html(found(hit("walk", 1.25, 2.5)))).having("data-like")
    assert (button["data-like"], button["data-from"], button["data-to"]) == ("walk", "1.250", "2.500")


def test_frame_is_from_the_middle_of_the_moment():
    (image,) = Elements(library_html(found(hit("a&b", 5, 15)))).having("src")
    assert parse_qs(urlsplit(image["src"]).query) == {"id": ["a&b"], "time": ["10.00"]}


def test_video_without_a_file_has_the_sentence_in_the_place_of_a_frame():
    page = Elements(library_html(found(hit(problem="walk is gone."))))
    assert page.having("src") == [] and "no file" in page.text
    assert page.having("data-start")[0]["data-problem"] == "walk is gone."


def test_true_moments_are_folded_and_not_too_many():
    truth = tuple(ShownMoment("walk", 20.0, start, start + 1) for start in range(MAX_TRUTH + 3))
    text = library_html(found(hit(), truth=truth))
    assert text.count('class="moment truth"') == MAX_TRUTH and "and 3 more" in text
    assert (
        f"Where it is annotated: {MAX_TRUTH + 3} moments" in text and "<details" in text and "<details open" not in text
    )
    assert "<details" not in library_html(found(hit()))


def test_nothing_found_says_why():
    assert "No moment is left" in library_html(found()) and "Click a moment" not in library_html(found())
    text = library_html(found(nothing_fits=True, confidence=0.124))
    assert "Nothing in this library fits: the confidence is 12 %" in text


def test_library_says_how_much_it_has_and_where():
    assert "The library is empty" in Elements(state_html(LibraryState(0, 0), "")).text
    text = Elements(state_html(LibraryState(1, 1234), "<index>")).text
    assert text == "The library <index>: 1 video, 1,234 moments."


def test_progress_and_problems_are_shown():
    page = Elements(state_html(LibraryState(3, 9, 2, Adding(3, 5), ("<b> is no video.",)), ""))
    assert [attributes for tag, attributes in page.found if tag == "progress"] == [
        {"max": "5", "value": "3", "aria-label": "Videos added"}
    ]
    assert "3 of 5" in page.text and "<b> is no video." in page.text
    assert "progress" not in [tag for tag, _ in Elements(state_html(LibraryState(3, 9), "")).found]


@pytest.mark.parametrize(
    "state, label",
    [
        (LibraryState(0, 0, 5), "Add this page's 5 videos"),
        (LibraryState(0, 0, 1), "Add this page's video"),
        (LibraryState(3, 9, 1), "Add this page's other video"),
        (LibraryState(3, 9, 2), "Add this page's other 2 videos"),
    ],
)
def test_button_says_what_it_adds(state, label):
    assert add_label(state) == label


@given(TEXTS.filter(bool), TEXTS, TEXTS)
def test_texts_from_outside_change_neither_elements_nor_themselves(name, query, problem):
    """The elements are those of a harmless text, and every attribute reads as the text that it was made of."""

    def page(name, query, problem):
        moments = (hit(name, problem=problem), hit(name))
        truth = (ShownMoment(name, 20.0, 1.0, 2.0),)
        return Elements(library_html(found(*moments, asked=query, truth=truth)) + state_html(LibraryState(1, 1), name))

    odd, plain = page(name, query, problem), page("name", "query", "problem" if problem else "")
    assert [tag for tag, _ in odd.found] == [tag for tag, _ in plain.found]
    assert [button["data-like"] for button in odd.having("data-like")] == [name, name]
    assert odd.having("data-problem")[0]["data-problem"] == problem
    for button in odd.having("data-source"):
        assert parse_qs(urlsplit(button["data-source"]).query, keep_blank_values=True) == {"id": [name]}


def test_player_begins_without_a_video():
    page = Elements(player_html())
    assert [attributes.get("hidden", "shown") for tag, attributes in page.found if tag == "video"] == [None]
    assert page.having("src") == [] and "Click a moment" in page.text
