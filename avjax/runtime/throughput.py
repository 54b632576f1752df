"""Training throughput, and the share of time in which devices wait for data."""

import time

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
