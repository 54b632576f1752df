"""How fast a run trains, and for which share of the time its devices wait for data."""

import time

import numpy as np


class Throughput:
    """Counts steps and seconds between two calls of `take`; other work is left out by `resume`."""

    clock = staticmethod(time.perf_counter)

    def __init__(self, batch_size: int):
        self._batch, self._shares = batch_size, []
        self.resume()

    def resume(self) -> None:
        """Counts from here on: what came before was compiling, saving or evaluating."""
        self._since, self._steps, self._waited = self.clock(), 0, np.zeros(2)

    def add(self, waited) -> None:
        """Counts a step, for which devices waited [2] seconds: for decoding, for transfer."""
        self._steps += 1
        self._waited += waited

    def take(self) -> dict[str, float]:
        """{"clips_per_second", "wait_share", "transfer_share"} of the steps since `resume`."""
        seconds = self.clock() - self._since
        self._shares.append(self._waited / seconds)
        return {
            "clips_per_second": self._steps * self._batch / seconds,
            **dict(zip(("wait_share", "transfer_share"), self._shares[-1])),
        }

    def median(self) -> tuple[float, float]:
        """The median shares of waiting for decoding and for transfer, after a first `take`."""
        return tuple(np.median(self._shares, axis=0))
