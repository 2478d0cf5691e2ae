"""Docstrings begin with a noun or a verb, and so do the descriptions of arguments."""

import ast
import re

import pytest
from tiny import ROOT

FIRST_WORD = re.compile(r"(What|How|Where|Which|Whether|Why|The same|Likewise|Of)\b")
ARGUMENT = re.compile(r"\s+[\w, *]+: (of|the same|likewise|what)\b")


def faults(text):
    """Names of what has a docstring that begins otherwise."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        docstring = ast.get_docstring(node) or ""
        if FIRST_WORD.match(docstring) or any(map(ARGUMENT.match, docstring.splitlines())):
            found.append(getattr(node, "name", "module"))
    return found


def test_every_docstring_begins_with_a_noun_or_a_verb():
    paths = sorted((ROOT / "mmn").rglob("*.py"))
    found = {str(path.relative_to(ROOT)): faults(path.read_text(encoding="utf-8")) for path in paths}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "docstring", ["What is read.", "The same again.", "Rows.\n\n    Args:\n        path: of the file.\n    "]
)
def test_other_beginnings_are_found(docstring):
    assert faults(f'def read():\n    """{docstring}"""\n') == ["read"]
