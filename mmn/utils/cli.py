"""End of a tool: a user's mistake is one sentence and exit code 2, anything else a traceback.

A run that was told to stop, and has saved itself, ends with exit code 75.

Importing this loads neither torch nor transformers, so that a tool can answer a wrong argument at once.
"""

import contextlib
import gc
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType

from mmn.utils.errors import Preempted, UserError
from mmn.utils.preemption import PREEMPTED_EXIT_CODE, received_signal, stop_listening

USER_ERROR_EXIT_CODE = 2
# Most mistakes meet all processes at once. Those of rank > 0 wait this many seconds before they speak, in which the
# launcher ends them if rank 0 has spoken.
OTHER_RANKS_DELAY = 3
# Those that merely notice that another process is gone wait longer, so that its own words are the last.
PEER_DELAY = 15


@contextlib.contextmanager
def ending_with_the_reader() -> Iterator[None]:
    """Within it the end of who reads the output, such as `head`, ends this process as quietly as it ends others."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_is_gone():  # another pipe
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its end
        sys.exit(128 + signal.SIGPIPE)


def _reader_is_gone() -> bool:
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):  # no real file
        return False


def run_tool(main: Callable[[], None]) -> None:
    """Call `main()`. With MMN_DEBUG=1 a user's mistake shows its traceback too."""
    try:
        main()
    except UserError as error:
        if os.environ.get("MMN_DEBUG", "0") not in ("", "0"):
            raise
        is_own = os.environ.get("RANK", "0") == "0" if error.is_own is None else error.is_own
        if not is_own:
            _wait_for_the_launcher(OTHER_RANKS_DELAY)
        print(f"error: {str(error).strip()}", file=sys.stderr, flush=True)
        _release_workers(error)
        sys.exit(USER_ERROR_EXIT_CODE)
    except Preempted as end:
        if os.environ.get("RANK", "0") == "0":
            print(f"stopped: {end}", file=sys.stderr, flush=True)
        _release_workers(end)
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
        if (dist := _process_group()) is not None:
            dist.destroy_process_group()


def _release_workers(error: BaseException | None) -> None:
    """Drop what the frames of an error hold on to: a data loader that is dropped before the exit ends its workers.

    Python itself would end them at the exit by SIGTERM, after which they go on for a while (see `spare_worker`).
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()


def _wait_for_the_launcher(seconds: float) -> None:
    """Time for the launcher to end this process, which it does by SIGTERM when another one has ended."""
    stop_listening()
    if received_signal() is not None:  # it has been at it already
        os._exit(1)
    time.sleep(seconds)


def _process_group() -> ModuleType | None:
    """torch.distributed where this process is in a group. A process that has not even loaded it is in none."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_initialized() else None


def _is_of_another_process(error: RuntimeError) -> bool:
    """Tell whether this is what a process meets in an exchange with one that has ended."""
    dist = _process_group()
    if dist is None:
        return False
    words = ("closed by peer", "reset by peer", "Broken pipe", "Connection refused", "remote process exited")
    return isinstance(error, dist.DistError) or any(word.lower() in str(error).lower() for word in words)
