"""Pipelines in threads."""

import threading
import time

import pytest

from mmn.utils.ahead import Behind, ahead


def test_items_come_in_their_order():
    assert list(ahead(range(50), 3)) == list(range(50))
    assert list(ahead([], 3)) == []


def test_no_more_items_are_made_than_were_asked_for():
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number

    items = ahead(numbers(), 2)
    assert next(items) == 0
    time.sleep(0.05)
    assert len(made) <= 5
    items.close()


def test_failure_arrives_after_the_items_before_it():
    def numbers():
        yield 1
        raise KeyError("broken")

    items = ahead(numbers(), 2)
    assert next(items) == 1
    with pytest.raises(KeyError, match="broken"):
        next(items)


def test_who_stops_taking_stops_the_thread_and_ends_the_maker():
    ended = threading.Event()

    def numbers():
        try:
            yield from range(10**6)
        finally:
            ended.set()

    before = threading.active_count()
    items = ahead(numbers(), 2)
    next(items)
    items.close()
    assert ended.is_set()
    assert threading.active_count() == before


def test_steps_run_side_by_side():
    """A step that waits for what the next one does first would hang if they took turns."""
    gate = threading.Event()

    def numbers():
        yield 1
        assert gate.wait(5)
        yield 2

    taken = []
    for number in ahead(numbers(), 1):
        taken.append(number)
        gate.set()
    assert taken == [1, 2]


def test_calls_behind_come_in_their_order_and_are_done_at_the_end():
    done = []
    with Behind(2) as behind:
        for number in range(20):
            behind.call(done.append, number)
    assert done == list(range(20))


def test_failure_behind_is_raised_by_a_later_call_or_at_the_end():
    def fail():
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"), Behind(3) as behind:
        behind.call(fail)
    with pytest.raises(KeyError, match="broken"), Behind(1) as behind:
        behind.call(fail)
        behind.call(fail)
        pytest.fail("not raised")


def test_no_more_calls_wait_than_were_allowed():
    gate, behind = threading.Event(), Behind(2)
    behind.call(gate.wait)
    behind.call(gate.wait)
    asking = threading.Thread(target=behind.call, args=(gate.wait,))
    asking.start()
    asking.join(0.05)
    assert asking.is_alive()
    gate.set()
    asking.join(5)
    assert not asking.is_alive()
    behind.finish()


def test_failure_of_who_calls_leaves_out_the_calls_that_wait():
    done, gate = [], threading.Event()
    with pytest.raises(ValueError, match="stopped"), Behind(9) as behind:
        behind.call(gate.wait, 0.1)
        for number in range(5):
            behind.call(done.append, number)
        raise ValueError("stopped")
    assert done == []
