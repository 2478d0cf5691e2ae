"""Running the steps of a pipeline side by side, each in a thread."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """Items as they come, made by a thread that is up to `depth` of them ahead of who takes them.

    What is raised while they are made is raised here, after the items before it. Who stops taking them stops the thread.
    """
    made: queue.Queue = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def hand_over(kind: str, value: object) -> bool:
        while not stopped.is_set():
            try:
                made.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not hand_over("item", item):
                    break
            else:
                hand_over("end", None)
        except BaseException as error:  # it belongs to who takes the items
            hand_over("error", error)
        finally:
            getattr(iterator, "close", lambda: None)()

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = made.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()


class Behind:
    """Calls functions one after the other in a thread that is up to `depth` of them behind who asks for them.

    What one of them raises is raised by a later `call`, or by `finish`, which the end of a `with` block calls.
    """

    def __init__(self, depth: int):
        self._depth = depth
        self._pending: deque[Future] = deque()
        self._pool = ThreadPoolExecutor(1, "behind")

    def call(self, function: Callable, *args) -> None:
        while len(self._pending) >= self._depth:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(function, *args))

    def finish(self) -> None:
        """Wait until all are done."""
        while self._pending:
            self._pending.popleft().result()

    def __enter__(self) -> "Behind":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
