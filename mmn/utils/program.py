"""The start of a command of this package in another process."""

import sys
from pathlib import Path

MAIN_FILE = str(Path(__file__).resolve().parents[1] / "__main__.py")
"""Run by its path, so that the other process has this very package, installed or not, in whatever folder it starts."""


def program(command: str, *arguments: str) -> tuple[str, ...]:
    """Words that start `mmn COMMAND ARGUMENTS`."""
    return (sys.executable, MAIN_FILE, command, *arguments)
