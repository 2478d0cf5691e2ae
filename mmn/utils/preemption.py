"""Stopping when the machine is wanted back: SIGTERM or SIGUSR1, which cluster schedulers send some time before SIGKILL."""

import contextlib
import ctypes
import os
import platform
import signal
from collections.abc import Iterator

PREEMPTED_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
WORKER_GRACE = 30  # seconds that a loader worker goes on after SIGTERM
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h

_received: list[int] = []


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Within it the signals do not end this process but are noted, for the training loop to act on.

    Only the loop is to be within it: what waits for another process to arrive acts on no signal.
    """
    before = [(number, signal.signal(number, lambda received, frame: _received.append(received))) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def die_with_the_launcher() -> None:
    """Under torchrun: end when torchrun is killed outright, which otherwise leaves its children behind."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_the_parent()


def die_with_the_parent() -> None:
    """On Linux: have this process killed when the one that started it ends, however it ends."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def stop_listening() -> None:
    """Let the signals end this process again."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def received_signal() -> str | None:
    """The name of the first signal that came, if one did."""
    return signal.Signals(_received[0]).name if _received else None


def spare_worker(worker: int) -> None:
    """For a loader worker: a signal sent to a whole job leaves it WORKER_GRACE seconds to serve the iteration's end."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda received, frame: signal.alarm(WORKER_GRACE))
