"""Training throughput, and the share of time in which devices wait for data."""

import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax
import numpy as np


class Throughput:
    """Counts steps and seconds between calls of `take`; `resume` excludes other work."""

    clock = staticmethod(time.perf_counter)

    def __init__(self, batch_size: int):
        self._batch, self._shares = batch_size, []
        self.resume()

    def resume(self) -> None:
        """Restarts counting after compiling, saving or evaluating."""
        self._since, self._steps, self._waited = self.clock(), 0, np.zeros(2)

    def exclude(self, seconds: float) -> None:
        """Does not count `seconds` that have passed since `resume`."""
        self._since += seconds

    def add(self, waited: np.ndarray) -> None:
        """Counts a step.

        Args:
          waited: seconds [2] in which devices waited: for decoding, for transfer.
        """
        self._steps += 1
        self._waited += waited

    def take(self) -> dict[str, float]:
        """Returns {"clips_per_second", "time/data_wait", "time/transfer"} since `resume`."""
        seconds = self.clock() - self._since
        self._shares.append(self._waited / seconds)
        return {
            "clips_per_second": self._steps * self._batch / seconds,
            **dict(zip(("time/data_wait", "time/transfer"), self._shares[-1])),
        }

    def median(self) -> tuple[float, float]:
        """Returns the median shares of waiting for decoding and transfer, after a first `take`."""
        return tuple(np.median(self._shares, axis=0))


class StepEnd:
    """The time at which the device ended the latest step; a thread waits for it, not the loop."""

    def __init__(self, clock: Callable[[], float] = Throughput.clock):
        self._clock, self._was_idle = clock, True
        self._output: Any = None
        self._thread = futures.ThreadPoolExecutor(1, "step_end")

    def begin(self, output: Any) -> None:
        """Notes a step that has been dispatched.

        Args:
          output: an array of the step that is not donated.
        """
        self._output = output
        self._time = self._thread.submit(self._wait, output)

    def begin_wait(self) -> None:
        """Notes that the loop starts to wait for the next batch."""
        self._was_idle = self._output is None or self._output.is_ready()

    def idle_seconds(self, times: np.ndarray) -> np.ndarray:
        """Returns the part of each interval in which the device had nothing to do.

        Args:
          times: [N + 1] of one wait, ascending.

        Returns:
          seconds [N] of the intervals between `times` that are after the end of the step.
        """
        end = times[0]
        if not self._was_idle and self._output is not None:
            end = self._time.result() if self._output.is_ready() else times[-1]
        return np.diff(np.maximum(times, end))

    def close(self) -> None:
        """Ends the thread, without waiting for it."""
        self._thread.shutdown(wait=False)

    def _wait(self, output: Any) -> float:
        jax.block_until_ready(output)
        return self._clock()
