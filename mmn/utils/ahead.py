"""Running the steps of a pipeline side by side, each in a thread."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The same items, made by a thread that is up to `depth` of them ahead of who takes them.

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
