"""The training loop: batches in; metrics, checkpoints and evaluations out."""

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from avjax.runtime import checkpoint, metrics_writer, preemption, profiling, sharding
from avjax.runtime.throughput import Throughput
from avjax.training import progress_line, refresh
from avjax.training.settings import Settings
from avjax.types import TrainState


class Run(NamedTuple):
    """The parts of a run that the loop uses."""

    settings: Settings
    mesh: jax.sharding.Mesh
    batches: Callable  # (start, stop) -> this host's batches of steps start + 1 to stop
    step: Callable  # (state, batch) -> (state, metrics); donates the old state
    refresh: Callable | None  # state -> state: a method's refresh
    evaluate: Callable | None  # (state, step, always)
    checkpoints: Any
    log: metrics_writer.Log
    signals: preemption.Watch
    profile: Path | None  # The folder for a trace, if start-up and steps are profiled.


def loop(run: Run, ts: TrainState) -> TrainState:
    """Trains from `ts.step` to `settings.steps` and returns the final state.

    The untrained nets are evaluated after the first step, see `first_step`.  On an interruption
    the state after the last step is saved if its metrics are finite, and Interrupted is raised
    again.
    """
    first, last = int(ts.step), run.settings.steps
    if first >= last:
        return ts
    untrained = copy_nets(ts) if run.evaluate and first == 0 else None
    if run.evaluate and first:
        run.evaluate(ts, first, always=False)
    print_on_process_zero("compiling the training step")
    window, metrics, speed = [], None, Throughput(run.settings.batch_size)
    with (
        contextlib.closing(run.batches(start=first, stop=last)) as batches,
        contextlib.closing(progress_line.progress(last, jax.process_index() == 0)) as shown,
        profiling.trace_steps(run.profile, first + 1) as before_step,
    ):
        try:
            for n in range(first + 1, last + 1):
                stop_with_other_hosts(n)
                if run.refresh and refresh.refresh_due(n - 1, run.settings.refresh_every):
                    ts = run.refresh(ts)
                before_step(n)
                batch, times = next_batch(batches, run.mesh)
                done = None
                if n == first + 1:
                    done, untrained = first_step(run, ts, batch, untrained, speed), None
                with run.signals.defer():
                    idle = metrics is None or metrics["loss"].is_ready()
                    ts, new = done or run.step(ts, batch)
                    window.append(new)
                    jax.block_until_ready(metrics)  # At most one step ahead of the device.
                    metrics = new
                    speed.add(times * idle)  # The device was idle in the end.
                    scalars = log_if_due(run, n, n == first + 1, window, speed)
                    shown.advance(n, scalars)
                    save_if_due(run, n, ts, metrics)
                if run.evaluate and n < last:
                    run.evaluate(ts, n, always=False)
                if scalars:  # Saving and evaluating do not count as training time.
                    speed.resume()
        except preemption.Interrupted:
            if metrics and np.isfinite(list(mean_metrics([metrics]).values())).all():
                checkpoint.save(run.checkpoints, ts, run.settings.max_to_keep)
            raise
    print_on_process_zero(metrics_writer.bottleneck(*speed.median()))
    return ts


def copy_nets(ts: TrainState) -> TrainState:
    """Returns a copy of the state without that of the optimizer; a step donates the original."""
    kept = dataclasses.replace(ts, opt=())
    places = jax.tree.map(lambda x: x.sharding, kept)
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=places)(kept)


def first_step(run: Run, ts: TrainState, batch, untrained: TrainState | None, speed: Throughput):
    """Takes the first step of this process, then evaluates the untrained nets: the baseline.

    In this order a step that does not compile, or that needs more memory than there is, fails
    before an evaluation that may take long.

    Args:
      run: the parts of the run.
      ts: the state, which is donated.
      batch: of the step.
      untrained: the state at step 0, see `copy_nets`; None for no evaluation.
      speed: the evaluation does not count as training time.

    Returns:
      (state, metrics) of the step.
    """
    profiling.mark("first batch")
    done = jax.block_until_ready(run.step(ts, batch))
    profiling.mark("first step: tracing, compiling and running it")
    if run.profile and jax.process_index() == 0:
        print_on_process_zero(profiling.start_up_table())
    if untrained is not None and run.evaluate:
        start_time = speed.clock()
        run.evaluate(untrained, 0, always=True)
        speed.exclude(speed.clock() - start_time)
    return done


def log_if_due(run: Run, n: int, first: bool, window: list, speed: Throughput) -> dict | None:
    """Logs the metrics of step `n` if that is due and returns them, else None."""
    if n % run.settings.log_every and n != run.settings.steps:
        if first:  # Compiling does not count as training time.
            jax.block_until_ready(window)
            speed.resume()
        return None
    scalars = mean_metrics(window)
    metrics_writer.check_finite(n, scalars)
    scalars |= speed.take()
    run.log.write(n, scalars)
    window.clear()
    return scalars


def save_if_due(run: Run, n: int, ts: TrainState, metrics) -> None:
    """Saves the state after step `n` if that is due.

    Raises:
      FloatingPointError: the metrics of the step are not finite.
    """
    if n % run.settings.save_every == 0 or n == run.settings.steps:
        metrics_writer.check_finite(n, mean_metrics([metrics]))
        checkpoint.save(run.checkpoints, ts, run.settings.max_to_keep)


def next_batch(batches, mesh):
    """Returns (the next batch on the devices, seconds [2] of decoding and of transfer)."""
    start_time = Throughput.clock()
    batch = next(batches)
    decoded = Throughput.clock()
    # Waiting costs nothing: the next step cannot start earlier.
    batch = jax.block_until_ready(sharding.shard_batch(batch, mesh))
    return batch, np.array([decoded - start_time, Throughput.clock() - decoded])


def mean_metrics(window) -> dict:
    """Returns the mean of each metric over the steps in `window`."""
    window = jax.device_get(window)
    return {name: float(np.mean([m[name] for m in window])) for name in window[0]}


def stop_with_other_hosts(step: int) -> None:
    """Raises Interrupted in all processes before the same step if one received SIGTERM."""
    if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
        raise preemption.Interrupted(signal.SIGTERM)


def print_on_process_zero(text: str) -> None:
    """Prints `text` in process 0; characters that the terminal cannot show are escaped."""
    if text and jax.process_index() == 0:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
