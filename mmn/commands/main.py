"""The command `mmn`."""

import difflib
import importlib
import sys

from mmn.commands.frame import run_command
from mmn.utils.cli import ending_with_the_reader
from mmn.utils.version import VERSION

GROUPS = {
    "Training and testing": (
        "train",
        "test",
        "test-long",
        "evaluate",
        "launch",
        "configs",
        "check-data",
        "cache-features",
        "export",
    ),
    "Finding moments": ("localize", "index", "search", "calibrate-index", "demo"),
    "Features and data": (
        "extract",
        "simulate-features",
        "convert-stvg",
        "make-synthetic",
        "make-synthetic-stvg",
        "make-glove",
        "make-pixel-videos",
    ),
    "Looking and comparing": ("visualize", "draw-tube", "compare", "ablate", "probe", "evaluate-corpus"),
    "Measuring the code": ("benchmark", "gpu-check", "chaos"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)


def main() -> None:
    """Run the command that the first word names."""
    with ending_with_the_reader():
        _run_named(sys.argv[1:])


def _run_named(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
    elif words[0] in COMMANDS:
        run_command(words[0], words[1:], tool="")
    elif words[0] == "--version":
        print(f"mmn {VERSION}")
    else:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "`mmn --help` lists them"
        print(f"error: mmn has no command {words[0]!r}: {hint}", file=sys.stderr)
        sys.exit(2)


def _overview() -> str:
    lines = ["usage: mmn COMMAND ...", "", "MMN, the Mutual Matching Network for temporal grounding."]
    for title, names in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<20} {_summary(name)}" for name in names)]
    return "\n".join([*lines, "", "`mmn COMMAND --help` tells a command's arguments, `mmn --version` the version."])


def _summary(name: str) -> str:
    doc = importlib.import_module(f"mmn.commands.{name.replace('-', '_')}").__doc__ or ""
    return doc.splitlines()[0].removesuffix(".").removesuffix(":")
