"""The steps of a run: batches in, metrics, checkpoints and evaluations out."""

import contextlib
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from avjax.runtime import checkpoint, metrics_writer, preemption, sharding
from avjax.runtime.throughput import Throughput
from avjax.training import progress_line, refresh
from avjax.types import TrainState


class Run(NamedTuple):
    """What the loop works with."""

    config: dict
    mesh: jax.sharding.Mesh
    batches: Callable  # (start, stop) -> this host's batches of the steps start + 1 to stop
    step: Callable  # (state, batch) -> (state, metrics); the old state is given up
    renew: Callable | None  # state -> state: a method's refresh
    evaluate: Callable  # (state, step, always)
    checkpoints: Any
    log: metrics_writer.Log
    signals: preemption.Watch


def loop(run: Run, ts: TrainState) -> TrainState:
    """Steps from where `ts` is to the end of the run; the state there.

    An interruption saves the state after the last step that is finite, and is raised again.
    """
    first, last = int(ts.step), run.config["steps"]
    if first >= last:
        return ts
    run.evaluate(ts, first, always=first == 0)  # Untrained: what the trained are compared with.
    say("compiling the training step")
    window, metrics, speed = [], None, Throughput(run.config["batch_size"])
    with (
        contextlib.closing(run.batches(start=first, stop=last)) as batches,
        contextlib.closing(progress_line.progress(last, jax.process_index() == 0)) as shown,
    ):
        try:
            for n in range(first + 1, last + 1):
                stop_with_other_hosts(n)
                if run.renew and refresh.due(n - 1, run.config["refresh_every"]):
                    ts = run.renew(ts)
                batch, times = fetch(batches, run.mesh)
                with run.signals.defer():
                    idle = metrics is None or metrics["loss"].is_ready()
                    ts, new = run.step(ts, batch)
                    window.append(new)
                    jax.block_until_ready(metrics)  # One step ahead of the device is enough.
                    metrics = new
                    speed.add(times * idle)  # In the end the device had nothing to do.
                    scalars = logged(run, n, n == first + 1, window, speed)
                    shown.advance(n, scalars)
                    save(run, n, ts, metrics)
                if n < last:
                    run.evaluate(ts, n, always=False)
                if scalars:  # Saving and evaluating are not training time.
                    speed.resume()
        except preemption.Interrupted:
            if metrics and np.isfinite(list(average([metrics]).values())).all():
                checkpoint.save(run.checkpoints, ts)
            raise
    say(metrics_writer.bound(*speed.median()))
    return ts


def logged(run: Run, n: int, first: bool, window: list, speed: Throughput) -> dict | None:
    """What the log has of step `n`, written there; None of a step that is not logged."""
    if n % run.config["log_every"] and n != run.config["steps"]:
        if first:  # Compiling is not training time.
            jax.block_until_ready(window)
            speed.resume()
        return None
    scalars = average(window)
    metrics_writer.check_finite(n, scalars)
    scalars |= speed.take()
    run.log.write(n, scalars)
    window.clear()
    return scalars


def save(run: Run, n: int, ts: TrainState, metrics) -> None:
    """Saves the state after step `n` if that is due; raises where its metrics are not finite."""
    if n % run.config["save_every"] == 0 or n == run.config["steps"]:
        metrics_writer.check_finite(n, average([metrics]))
        checkpoint.save(run.checkpoints, ts)


def fetch(batches, mesh):
    """(the next batch, on the devices; seconds [2] it took to be decoded and transferred)."""
    begin = Throughput.clock()
    batch = next(batches)
    decoded = Throughput.clock()
    # Nothing is lost by waiting: the next step cannot begin earlier.
    batch = jax.block_until_ready(sharding.put(batch, mesh))
    return batch, np.array([decoded - begin, Throughput.clock() - decoded])


def average(window) -> dict:
    """The mean of each metric over the steps in `window`."""
    window = jax.device_get(window)
    return {name: float(np.mean([m[name] for m in window])) for name in window[0]}


def stop_with_other_hosts(step: int) -> None:
    """Raises Interrupted, in all processes before the same step, if one has had a SIGTERM."""
    if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
        raise preemption.Interrupted(signal.SIGTERM)


def say(text: str) -> None:
    """Prints `text`, in one process of many; what the terminal cannot show, it escapes."""
    if text and jax.process_index() == 0:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
