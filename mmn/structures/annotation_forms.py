"""Telling the forms of annotation files apart: those that are read here, and known ones that are not."""

import itertools
import re

from mmn.utils.text_files import numbered_lines, parse_json

JSON, JSON_LINES, CHARADES, MAD = "json", "jsonl", "charades", "mad"  # `format` of a catalog entry
FORMS = {
    JSON: "one json object of the form {video id: entry}",
    JSON_LINES: "JSON lines, one object per line",
    CHARADES: "the text form of Charades-STA, lines of `vid start end##sentence`",
    MAD: "MAD's json, {id: {movie, movie_duration, ext_timestamps, sentence}}",
}
CHARADES_LINE = re.compile(r"(\S+)[ \t]+([-+.\deE]+)[ \t]+([-+.\deE]+)[ \t]*##(.*)", re.DOTALL)
CSV_LINE = re.compile(r"[^{}\[\],;\t]+(?:[,;\t][^{}\[\]]*){2}")
ONE_LINE = f"{FORMS[JSON_LINES]}, with a single one"


def form_of_text(text: str) -> str | None:
    """The form of a text that is not one json value, where it is a known one; None for any other."""
    lines = list(itertools.islice((line for _, line in numbered_lines(text)), 2))
    if not lines:
        return "an empty file"
    if CHARADES_LINE.fullmatch(lines[0]):
        return FORMS[CHARADES]
    if len(lines) == 2 and _is_object(lines[0]):
        return FORMS[JSON_LINES]
    if len(lines) == 2 and all(CSV_LINE.fullmatch(line) for line in lines):
        return "a table of separated values (csv)"
    return None


def form_of_json(content: object) -> str | None:
    """The form of a json value, where it is a known one that is not `{video id: entry}`; None for any other."""
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return "a list of records"
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("database"), dict):
        return "the form of ActivityNet's own files, with the videos under 'database'"
    if "query" in content and ("vid" in content or "qid" in content):
        return ONE_LINE
    entry = next(iter(content.values()), None)
    if isinstance(entry, dict) and {"movie", "ext_timestamps"} <= entry.keys():
        return FORMS[MAD]
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
