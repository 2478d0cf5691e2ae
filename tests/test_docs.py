"""README.md and docs/ name only what exists: files, sections, commands, modules."""

import importlib
import re
from pathlib import Path

import pytest
from tiny import ROOT

from mmn.apps.probes.probe_tables import INTRODUCTION
from mmn.commands.main import COMMANDS

PLACES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "dataset" / "README.md"]
DOCUMENTS = sorted(path for path in PLACES if path.name != "CHANGELOG.md")  # which may name what is gone
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FILE = re.compile(r"(?<![\w/.])(?:tools|scripts|mmn|configs|tests|docs)/[\w./-]*\.(?:py|sh|yaml|md)\b")
MODULE = re.compile(r"(?<![\w./-])mmn(?:\.[a-z]\w*)+(?!\w)(?<!\.py)")
COMMAND = re.compile(r"(?:^|`|-m )mmn ([a-z][a-z-]*)", re.MULTILINE)
SHARED_SPEC = ROOT.parent / "shared" / "SPEC.md"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(markdown: str) -> set[str]:
    """The fragments that GitHub gives to the headings of a page: "10 million, or `more`" has 10-million-or-more."""
    headings = HEADING.findall(FENCE.sub("", markdown))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(params=DOCUMENTS, ids=name)
def document(request) -> Path:
    return request.param


def test_relative_links_lead_to_files_and_sections(document):
    broken = []
    for link in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        place, _, fragment = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        if not target.exists() or (fragment and fragment not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert not broken


def test_named_files_exist(document):
    assert not [path for path in FILE.findall(document.read_text(encoding="utf-8")) if not (ROOT / path).exists()]


def test_named_modules_and_their_members_exist(document):
    names = MODULE.findall(document.read_text(encoding="utf-8"))
    assert not [dotted for dotted in names if not (is_module(dotted) or is_member(dotted))]


def is_module(dotted: str) -> bool:
    path = ROOT.joinpath(*dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def is_member(dotted: str) -> bool:
    parent, _, member = dotted.rpartition(".")
    return is_module(parent) and hasattr(importlib.import_module(parent), member)


def test_named_commands_exist(document):
    assert set(COMMAND.findall(document.read_text(encoding="utf-8"))) <= set(COMMANDS)


def test_readme_fits_a_few_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_probes_page_begins_as_the_tool_writes_it():
    assert (ROOT / "docs" / "PROBES.md").read_text(encoding="utf-8").startswith(INTRODUCTION)


@pytest.mark.skipif(not SHARED_SPEC.exists(), reason="the original of docs/SPEC.md is not beside this checkout")
def test_specification_is_the_shared_one():
    assert (ROOT / "docs" / "SPEC.md").read_bytes() == SHARED_SPEC.read_bytes()
