"""The training loop: batches in; metrics, checkpoints and evaluations out."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from avjax.runtime import checkpoint, metrics_writer, preemption, profiling, sharding, watchdog
from avjax.runtime.throughput import StepEnd, Throughput
from avjax.training import nonfinite, progress_line, refresh
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
    untrained: Callable  # state -> the nets that the run started with; None: no evaluation of them
    checkpoints: Any
    log: metrics_writer.Log
    skipped: nonfinite.Count
    signals: preemption.Watch
    dog: watchdog.Watchdog
    profile: Path | None  # The folder for a trace, if start-up and steps are profiled.


def loop(run: Run, ts: TrainState) -> TrainState:
    """Trains from `ts.step` to `settings.steps` and returns the final state.

    The untrained nets are evaluated after the first step: a step that does not compile, or that
    needs more memory than there is, fails before an evaluation that may take long.  A signal
    interrupts the wait for a batch, a refresh and an evaluation, and all else at the end of the
    step.  Then the state after the last step is saved, and Interrupted is raised again.

    Raises:
      FloatingPointError: too many steps in a row were skipped, see `nonfinite`.
    """
    first, last = int(ts.step), run.settings.steps
    if first >= last:
        return ts
    untrained = run.untrained(ts)
    if run.evaluate and first:
        run.evaluate(ts, first, always=False)
    print_on_process_zero("compiling the training step")
    window, metrics, speed = [], None, Throughput(run.settings.batch_size)
    with (
        contextlib.closing(run.batches(start=first, stop=last)) as batches,
        contextlib.closing(progress_line.progress(last, jax.process_index() == 0)) as shown,
        contextlib.closing(StepEnd(speed.clock)) as step_end,
        profiling.trace_steps(run.profile, first + 1) as before_step,
    ):
        try:
            with run.signals.defer():
                for n in range(first + 1, last + 1):
                    run.signals.point(has_work=n > first + 1)
                    before_step(n)
                    step_end.begin_wait()
                    with run.signals.allow():
                        batch, times = next_batch(batches, run.mesh)
                    ts = refresh_if_due(run, n, ts)
                    if n == first + 1:
                        profiling.mark("first batch")
                    speed.add(step_end.idle_seconds(times))
                    ts, new = run.step(ts, batch)
                    step_end.begin(new["loss"])
                    window.append(new)
                    # At most one step ahead of the device.
                    jax.block_until_ready(metrics or new)
                    metrics = new
                    run.skipped.add(n, batch, new)
                    if n == first + 1:
                        print_start_up(run)
                    scalars = log_if_due(run, n, n == first + 1, window, speed)
                    shown.advance(n, scalars)
                    run.dog.step(n)
                    with run.dog.saving():
                        save_if_due(run, n, ts)
                    run.signals.check()
                    if untrained is not None:
                        start_time = speed.clock()
                        evaluate(run, untrained, 0, always=True)
                        untrained = None
                        speed.exclude(speed.clock() - start_time)
                    if n < last:
                        evaluate(run, ts, n, always=False)
                    if scalars:  # Saving and evaluating do not count as training time.
                        speed.resume()
        except preemption.Interrupted:
            if metrics:
                with run.dog.saving():
                    checkpoint.save(run.checkpoints, ts, run.settings.max_to_keep)
            raise
    print_on_process_zero(metrics_writer.bottleneck(*speed.median()))
    return ts


def copy_nets(ts: TrainState) -> TrainState:
    """Returns a copy of the state without that of the optimizer; a step donates the original."""
    kept = dataclasses.replace(ts, opt=())
    places = jax.tree.map(lambda x: x.sharding, kept)
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=places)(kept)


def evaluate(run: Run, ts: TrainState, step: int, always: bool) -> None:
    """Runs the evaluations that are due at a step."""
    if run.evaluate:
        with run.dog.during("evaluation"):
            run.evaluate(ts, step, always)


def refresh_if_due(run: Run, n: int, ts: TrainState) -> TrainState:
    """Returns the state that step `n` starts from, after the method's refresh if that is due.

    A signal interrupts the refresh, whose result is lost.  When it has ended the step follows, so
    that no state is saved between them: the run that resumes does the refresh first.
    """
    if run.refresh and refresh.refresh_due(n - 1, run.settings.refresh_every):
        with run.dog.during("refresh"), run.signals.allow():
            ts = run.refresh(ts)
    return ts


def print_start_up(run: Run) -> None:
    """Prints the seconds of each part of the start-up if the run is profiled."""
    profiling.mark("first step: tracing, compiling and running it")
    if run.profile and jax.process_index() == 0:
        print_on_process_zero(profiling.start_up_table())


def log_if_due(run: Run, n: int, first: bool, window: list, speed: Throughput) -> dict | None:
    """Logs the metrics of step `n` if that is due and returns them, else None."""
    if n % run.settings.log_every and n != run.settings.steps:
        if first:  # Compiling does not count as training time.
            jax.block_until_ready(window)
            speed.resume()
        return None
    scalars = mean_metrics(window)
    scalars |= speed.take()
    run.log.write(n, scalars)
    window.clear()
    return scalars


def save_if_due(run: Run, n: int, ts: TrainState) -> None:
    """Saves the state after step `n` if that is due.

    Without `async_checkpointing` the next step waits for the end of the save, so that a crash costs
    `save_every` steps at most.  With it a crash while a checkpoint is written costs the steps since
    the one before, too.

    Raises:
      FloatingPointError: too many steps in a row were skipped.
    """
    if n % run.settings.save_every == 0 or n == run.settings.steps:
        run.skipped.check(last=n == run.settings.steps)
        checkpoint.save(run.checkpoints, ts, run.settings.max_to_keep)
        if not run.settings.async_checkpointing:
            checkpoint.wait_for_save(run.checkpoints)


def next_batch(batches, mesh):
    """Returns (the next batch on the devices, times [3] of start, decoded and transferred)."""
    start_time = Throughput.clock()
    batch = next(batches)
    decoded = Throughput.clock()
    # Waiting costs nothing: the next step cannot start earlier.
    batch = jax.block_until_ready(sharding.shard_batch(batch, mesh))
    return batch, np.array([start_time, decoded, Throughput.clock()])


def mean_metrics(window) -> dict:
    """Returns the mean of each metric over the steps in `window` that were not skipped.

    If some were, their number is "skipped_steps"; if all were, there is nothing else.
    """
    window = jax.device_get(window)
    kept = [metrics for metrics in window if not metrics.get(nonfinite.METRIC, 0)]
    names = [name for name in window[0] if name != nonfinite.METRIC and kept]
    means = {name: float(np.mean([metrics[name] for metrics in kept])) for name in names}
    skipped = len(window) - len(kept)
    return means | ({nonfinite.METRIC: skipped} if skipped else {})


def print_on_process_zero(text: str) -> None:
    """Prints `text` in process 0; characters that the terminal cannot show are escaped."""
    if text and jax.process_index() == 0:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
