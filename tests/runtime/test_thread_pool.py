"""Threads whose results are waited for, in a main thread that a signal may interrupt."""

import signal
import time

import pytest

from avjax.runtime import thread_pool


def test_all_results_come_once():
    with thread_pool.completed(lambda x: x * x, range(100), 4) as done:
        assert sorted(done) == [x * x for x in range(100)]
    with thread_pool.completed(lambda x: x, (), 4) as done:
        assert list(done) == []


def test_error_of_a_call_is_raised_and_calls_that_wait_are_left_out():
    begun = []

    def call(number):
        begun.append(number)
        time.sleep(0.001)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        with thread_pool.completed(call, range(1000), 1) as done:
            for _ in done:
                pass
    assert 4 <= len(begun) < 1000


def test_interruption_at_any_moment_ends_all_threads():
    class Stop(Exception):
        pass

    def stop(number, frame):
        raise Stop

    def call(_):
        begun.append(time.monotonic())
        time.sleep(1e-4)

    before, begun = signal.signal(signal.SIGALRM, stop), []
    try:
        for number in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-4 + 2e-5 * number)
                with thread_pool.completed(call, range(200), 3) as done:
                    for _ in done:
                        pass
            except Stop:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    time.sleep(
        0.2
    )  # An interruption may come while threads are waited for: they end by themselves.
    count = len(begun)
    time.sleep(0.2)
    assert 0 < count == len(begun) < 150 * 200
