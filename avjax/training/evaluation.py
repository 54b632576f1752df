"""Evaluations during a run: runs those that are due, logs and prints their scores."""

import functools
from collections.abc import Callable, Collection

import jax
import numpy as np

from avjax.config import app
from avjax.config.errors import with_key
from avjax.runtime import metric_info, metric_records, metrics_writer, preemption, sharding
from avjax.training.loop import print_on_process_zero


def make_evaluate(
    workdir, log: metrics_writer.Log, evals: dict, embed, signals: preemption.Watch,
    skip_logged: bool, on_done,
) -> Callable:  # fmt: skip
    """Returns a function (state, step, always) that runs the evaluators that are due.

    Args:
      workdir: the folder of the run.
      log: where the scores are written.
      evals: {name: (every, evaluator)}.
      embed: (state, batch) -> embeddings, see `types.Evaluator`.
      signals: one interrupts an evaluation, but not the writing of its scores.
      skip_logged: skip evaluations that the log already has for this step.
      on_done: called with the step after evaluations.
    """
    compiling = iter(["compiling the evaluation, and "])
    first = jax.process_index() == 0

    def embed_or_stop(ts, batch):
        signals.point()
        return embed(ts, batch)

    def evaluate(ts, step, always):
        due = [n for n, (every, _) in evals.items() if always or every and step % every == 0]
        if skip_logged:
            due = not_logged(log, due, step)
        for name in due:
            print_on_process_zero(f"{next(compiling, '')}evaluating {name}")
            try:
                with signals.allow():
                    values = evals[name][1](embed_or_stop, ts)
            except ValueError as error:
                if not app.is_user_error(error):
                    raise
                raise ValueError(with_key(f"config.evals.{name}", error)) from error
            with signals.defer():
                scalars = save_evaluation(workdir, name, values, first, log.pending.attempt)
                log.write(step, scalars)
                print_on_process_zero(format_scores(name, step, values))
        if due:
            on_done(step)
            sharding.barrier("report")  # Which process 0 writes.

    return evaluate


def not_logged(log: metrics_writer.Log, names: Collection[str], step: int) -> list[str]:
    """Returns the evaluations of which the log has nothing at `step`, the same in all processes."""
    has = [sharding.broadcast_from_process_zero(log.has(step, f"eval/{name}/")) for name in names]
    return [name for name, is_logged in zip(names, has) if not is_logged]


def save_evaluation(
    workdir, name, values, write: bool = True, attempt: Callable = lambda _, save: save()
) -> dict:
    """Saves an evaluator's arrays if `write`, and returns its scalars as {metric: value}.

    Args:
      workdir: the folder of the run.
      name: of the evaluator.
      values: its result.
      write: whether this process writes.
      attempt: see `PendingWrites.attempt`.
    """
    if write and (tables := {k: v for k, v in values.items() if np.ndim(v)}):
        save = functools.partial(metrics_writer.write_arrays, workdir, name, tables)
        attempt(f"{workdir}/evals/{name}.npz", save)
    return {f"eval/{name}/{k}": float(v) for k, v in values.items() if not np.ndim(v)}


def format_scores(name: str, step: int, values: dict) -> str:
    """Returns the scores of an evaluator as text, one per line; counts come last.

    Args:
      name: of the evaluator.
      step: number of training steps done.
      values: the evaluator's result: {"retrieval/v2a/recall@1": 12.5, "test/label": [N], ...}.
    """
    scalars = {path: float(value) for path, value in values.items() if not np.ndim(value)}
    nets = "untrained" if step == 0 else f"trained (step {step})"
    curves = {f"eval/{name}/{path}": ((step,), (value,)) for path, value in scalars.items()}
    rows, label = [], metric_records.labels_by_group(values)
    for path, (_, (value,)) in curves.items():
        metric = metric_info.describe(path)
        if metric.counts:
            continue
        chance = metric_info.chance_level(path, curves, label)
        reference = "" if chance is None else f"chance {metric_info.format_value(chance, metric)}"
        rows.append((metric.title, metric_info.format_value(value, metric), reference))
    wide, long = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    lines = [
        f"  {title:<{wide}}  {value:>{long}}  {chance}".rstrip() for title, value, chance in rows
    ]
    read = [
        _format_record_count(part, scalars)
        for part in ("train", "test")
        if f"{part}/records" in scalars
    ]
    if read:
        lines.append(f"  records: {', '.join(read)}")
    lines += [f"  {line}" for line in metric_records.missing_modality_notes(scalars)]
    return "\n".join([f"{name}, {nets} nets:", *lines]).replace("\N{NO-BREAK SPACE}", " ")


def _format_record_count(part: str, scalars: dict[str, float]) -> str:
    dropped = scalars.get(f"{part}/dropped", 0)
    read = f"{scalars[f'{part}/records']:.0f} {part}"
    return f"{read} ({dropped:.0f} more could not be read)" if dropped else read
