"""Waiting counts from the moment at which the device has nothing to do."""

import contextlib
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from avjax.runtime.throughput import StepEnd


class Output:
    """Of a step that ends when `end` is called."""

    def __init__(self):
        self._ended = threading.Event()
        self.is_ready = self._ended.is_set
        self.block_until_ready = self._ended.wait
        self.end = self._ended.set


@pytest.fixture
def step():
    """A step that began, its output, and a clock that it is read by."""
    clock, output = SimpleNamespace(now=0.0), Output()
    with contextlib.closing(StepEnd(lambda: clock.now)) as end:
        end.begin(output)
        yield end, output, clock
        output.end()


TIMES = np.array([1.0, 4.0, 6.0])  # A wait for decoding of 3 s, then for a transfer of 2 s.


@pytest.mark.parametrize(
    "end,idle", [(0.5, (3, 2)), (2, (2, 2)), (4, (0, 2)), (5, (0, 1)), (6, (0, 0))]
)
def test_waits_count_after_the_end_of_the_step(step, end, idle):
    step_end, output, clock = step
    step_end.begin_wait()
    clock.now = end
    output.end()
    np.testing.assert_allclose(step_end.idle_seconds(TIMES), idle)


def test_wait_of_a_busy_device_counts_nothing(step):
    step_end, _, _ = step
    step_end.begin_wait()
    np.testing.assert_array_equal(step_end.idle_seconds(TIMES), (0, 0))


def test_wait_of_an_idle_device_counts_whole_whenever_the_thread_saw_the_end(step):
    step_end, output, clock = step
    clock.now = 100.0
    output.end()
    step_end.begin_wait()
    np.testing.assert_array_equal(step_end.idle_seconds(TIMES), (3, 2))


def test_first_batch_counts_whole():
    with contextlib.closing(StepEnd()) as end:
        end.begin_wait()
        np.testing.assert_array_equal(end.idle_seconds(TIMES), (3, 2))
