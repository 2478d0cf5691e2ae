"""How a tool ends: a user's mistake is one sentence and exit code 2, anything else a traceback.

A run that was told to stop, and has saved itself, ends with exit code 75.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable

import torch.distributed as dist

from mmn.utils.comm import destroy_process_group
from mmn.utils.errors import Preempted, UserError
from mmn.utils.preemption import PREEMPTED_EXIT_CODE, received_signal, stop_listening

USER_ERROR_EXIT_CODE = 2
# Most mistakes meet all processes at once. Those of rank > 0 wait this many seconds before they speak, in which the
# launcher ends them if rank 0 has spoken.
OTHER_RANKS_DELAY = 3
# Those that merely notice that another process is gone wait longer, so that its own words are the last.
PEER_DELAY = 15


def run_tool(main: Callable[[], None]) -> None:
    """Call `main()`. With MMN_DEBUG=1 a user's mistake shows its traceback too."""
    try:
        main()
    except UserError as error:
        if os.environ.get("MMN_DEBUG", "0") not in ("", "0"):
            raise
        sentence = str(error).strip()
        if sentence.startswith("Caught "):
            # An error of a data loader worker arrives with its traceback as text; the sentence is its last line.
            sentence = sentence.splitlines()[-1].split("Error: ", 1)[-1]
        is_own = os.environ.get("RANK", "0") == "0" if error.is_own is None else error.is_own
        if not is_own:
            _wait_for_the_launcher(OTHER_RANKS_DELAY)
        print(f"error: {sentence}", file=sys.stderr, flush=True)
        sys.exit(USER_ERROR_EXIT_CODE)
    except Preempted as end:
        if os.environ.get("RANK", "0") == "0":
            print(f"stopped: {end}", file=sys.stderr, flush=True)
        sys.exit(PREEMPTED_EXIT_CODE)
    except RuntimeError as error:
        if not _is_of_another_process(error):
            raise
        _wait_for_the_launcher(PEER_DELAY)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # leaving the group in order would wait for the process that is gone
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        destroy_process_group()


def _wait_for_the_launcher(seconds: float) -> None:
    """Time for the launcher to end this process, which it does by SIGTERM when another one has ended."""
    stop_listening()
    if received_signal() is not None:  # it has been at it already
        os._exit(1)
    time.sleep(seconds)


def _is_of_another_process(error: RuntimeError) -> bool:
    """Whether this is what a process meets in an exchange with one that has ended."""
    if not dist.is_initialized():
        return False
    words = ("closed by peer", "reset by peer", "Broken pipe", "Connection refused", "remote process exited")
    return isinstance(error, dist.DistError) or any(word.lower() in str(error).lower() for word in words)
