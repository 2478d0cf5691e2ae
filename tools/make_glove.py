"""`mmn make-glove`, also from a checkout that is not installed. See mmn/commands/make_glove.py."""

import _path  # noqa: F401

from mmn.commands.frame import run_command

if __name__ == "__main__":
    run_command("make-glove")
