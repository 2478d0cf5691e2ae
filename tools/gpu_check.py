"""`mmn gpu-check`, also from a checkout that is not installed. See mmn/commands/gpu_check.py."""

import _path  # noqa: F401

from mmn.commands.frame import run_command

if __name__ == "__main__":
    run_command("gpu-check")
