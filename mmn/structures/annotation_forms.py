"""Telling the annotation files that other projects distribute from the one form that is read here."""

import itertools
import re

from mmn.utils.text_files import numbered_lines, parse_json

CHARADES_LINE = re.compile(r"\S+ +[-+.\deE]+ +[-+.\deE]+ *##")  # vid start end##sentence
CSV_LINE = re.compile(r"[^{}\[\],;\t]+(?:[,;\t][^{}\[\]]*){2}")
EXPECTED = "one json object of the form {video id: entry} is expected, see dataset/README.md"


def form_of_text(text: str) -> str | None:
    """The form of a text that is neither one json value nor JSON lines, where it is a known one; None for any other."""
    lines = list(itertools.islice((line for _, line in numbered_lines(text)), 2))
    if not lines:
        return "an empty file"
    if CHARADES_LINE.match(lines[0]):
        return "the text form of Charades-STA, lines of `vid start end##sentence`"
    if len(lines) > 1 and all(CSV_LINE.fullmatch(line) for line in lines):
        return "a table of separated values (csv)"
    return None


def is_json_lines(text: str) -> bool:
    """Tell whether the first two lines are json objects each."""
    lines = list(itertools.islice((line for _, line in numbered_lines(text)), 2))
    return len(lines) == 2 and all(map(_is_object, lines))


def form_of_json(content: object) -> str | None:
    """The form of a json value, where it is a known one that is not ours; None for any other."""
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return "a list of records"
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("database"), dict):
        return "the form of ActivityNet's own files, with the videos under 'database'"
    if "query" in content and ("vid" in content or "qid" in content):
        return "JSON lines, one object per line, with a single one"
    return None


def form_of_whole_json(text: str) -> str | None:
    """The form of a text that should be JSON lines but is one json value; None where it is not."""
    first = next((line for _, line in numbered_lines(text)), "")
    if _is_object(first) and not isinstance(next(iter(parse_json(first).values()), None), dict):
        return None
    try:
        content = parse_json(text)
    except ValueError:
        return None
    if form := form_of_json(content):
        return form
    return "one json object of entries" if isinstance(content, dict) else None


def _is_object(line: str) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False
