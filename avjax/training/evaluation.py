"""Evaluations of a run: which are due, what is logged of them, and what is shown."""

from collections.abc import Callable

import jax
import numpy as np

from avjax.runtime import metric_info, metric_records, metrics_writer, sharding
from avjax.training.loop import say


def make_evaluate(
    workdir, log: metrics_writer.Log, evals: dict, embed, skip: bool, then
) -> Callable:
    """A function (state, step, always) that runs the evaluators that are due, and logs them.

    Args:
      skip: leave out those that the log has of this step.
      then: called with the step after evaluations.
    """
    compiling = iter(["compiling the evaluation, and "])
    first = jax.process_index() == 0

    def evaluate(ts, step, always):
        due = [n for n, (every, _) in evals.items() if always or every and step % every == 0]
        has = [sharding.of_process_zero(log.has(step, f"eval/{name}/")) for name in due]
        due = [name for name, there in zip(due, has) if not (skip and there)]
        for name in due:
            say(f"{next(compiling, '')}evaluating {name}")
            values = evals[name][1](embed, ts)
            scalars = judged(workdir, name, values, write=first)
            log.write(step, scalars)
            say(block(name, step, values))
        if due:
            then(step)

    return evaluate


def judged(workdir, name, values, write: bool = True) -> dict:
    """Saves an evaluator's arrays, if `write`, and returns its scalars, named for the log."""
    if write and (tables := {k: v for k, v in values.items() if np.ndim(v)}):
        metrics_writer.arrays(workdir, name, tables)
    return {f"eval/{name}/{k}": float(v) for k, v in values.items() if not np.ndim(v)}


def block(name: str, step: int, values: dict) -> str:
    """The scores of evaluator `name` after `step` steps, a line each; counts in the last ones.

    Args:
      values: what the evaluator gives: {"retrieval/v2a/recall@1": 12.5, "test/label": [N], ...}.
    """
    scalars = {path: float(value) for path, value in values.items() if not np.ndim(value)}
    nets = "untrained" if step == 0 else f"trained (step {step})"
    curves = {f"eval/{name}/{path}": ((step,), (value,)) for path, value in scalars.items()}
    rows, label = [], metric_records.labels(values)
    for path, (_, (value,)) in curves.items():
        metric = metric_info.describe(path)
        if metric.counts:
            continue
        chance = metric_info.chance(path, curves, label)
        beside = "" if chance is None else f"chance {metric_info.shown(chance, metric)}"
        rows.append((metric.title, metric_info.shown(value, metric), beside))
    wide, long = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    lines = [
        f"  {title:<{wide}}  {value:>{long}}  {chance}".rstrip() for title, value, chance in rows
    ]
    read = [_records(part, scalars) for part in ("train", "test") if f"{part}/records" in scalars]
    if read:
        lines.append(f"  records: {', '.join(read)}")
    lines += [f"  {line}" for line in metric_records.fewer(scalars)]
    return "\n".join([f"{name}, {nets} nets:", *lines]).replace("\N{NO-BREAK SPACE}", " ")


def _records(part: str, scalars: dict[str, float]) -> str:
    dropped = scalars.get(f"{part}/dropped", 0)
    read = f"{scalars[f'{part}/records']:.0f} {part}"
    return f"{read} ({dropped:.0f} more could not be read)" if dropped else read
