"""Revision of the source that a checkpoint was made with."""

import functools
import os
import subprocess


@functools.cache
def git_revision() -> str:
    """The commit of the package's own checkout, "-dirty" appended where files differ from it; "" outside of git."""
    folder = os.path.dirname(os.path.abspath(__file__))

    def git(*arguments: str) -> str:
        command = ["git", "-C", folder, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        if not git("ls-files", __file__):  # installed below somebody else's repository
            return ""
        is_dirty = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-dirty" if is_dirty else "")
    except (OSError, subprocess.SubprocessError):
        return ""
