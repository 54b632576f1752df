"""Does the unfinished runs of a study, in order; other processes may do some of them."""

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from avjax.ablation import runner, sharing, study as arithmetic
from avjax.ablation.study import Run
from avjax.runtime import metrics_writer, preemption

POLL_SECONDS = 1.0  # All runs that are left are done by other processes, or wait for them.


class Work(NamedTuple):
    """A study.

    folder: of the study.  make_config: (run, steps, learning rate) -> its config.
    runs: all runs.  plans: {name of an arm: see `run_study.plan_arm`}.
    study: config.study.  allow_changed: see `train.run`.
    """

    folder: Path
    make_config: Callable[..., dict]
    runs: Sequence[Run]
    plans: Mapping[str, dict]
    study: dict
    allow_changed: Sequence[str]


def execute(work: Work, selected: Sequence[Run]) -> int:
    """Does the requested runs that are not finished; returns 1 if any failed or was refused.

    Args:
      work: the study.
      selected: the requested runs.
    """
    results = runner.read_existing(runner.read_result, work.folder, work.runs)
    check_same(work, [run for run in selected if run.name in results], results)
    todo = {run.name: run for run in selected if run.name not in results}
    total, start_time, start_count, bad = len(selected), time.monotonic(), len(todo), 0
    if len(todo) < total:
        print(f"{total - len(todo)} of {total} runs were already finished")
    before = sharing.failure_times(work.folder, work.runs)
    by_name = dict(todo)
    need = functools.cache(lambda name: needed(work, by_name[name]))
    while todo:
        name, text = await_outcome(work, todo, need, results, before)
        del todo[name]
        bad += text.startswith(("failed", "refused"))
        each = (time.monotonic() - start_time) / (start_count - len(todo))
        left = metrics_writer.format_duration(each * len(todo))
        line = f"[{total - len(todo)}/{total}] {name}: {text}; {each:.0f} s per run, {left} left"
        if text:
            print(line, flush=True)
    if bad:
        print(f"{bad} of {start_count} runs failed or were refused", file=sys.stderr)
    return int(bad > 0)


def check_same(work: Work, finished: Sequence[Run], results: Mapping[str, dict]) -> None:
    """Raises ValueError if a finished run was of another config."""
    for run in finished:
        found, steps = results[run.name], work.plans[run.arm.name]["steps"]
        config = work.make_config(run, steps, found["learning_rate"])
        if arithmetic.config_hash(config) != found["config"]:
            raise ValueError(
                f"{work.folder}/runs/{run.name} has another config or sweep(): choose another "
                "--workdir, or delete that run"
            )


def await_outcome(
    work: Work, todo: Mapping[str, Run], need: Callable, results: dict, before: Mapping[str, int]
) -> tuple[str, str]:
    """Returns the next outcome; waits while other processes do all runs that are left.

    Args: as of `next_outcome`.
    """
    waiting = False
    while not (found := next_outcome(work, todo, need, results, before)):
        if not waiting:
            print(f"waiting: other processes do the {len(todo)} runs that are left", flush=True)
        waiting = True
        time.sleep(POLL_SECONDS)
    return found


def next_outcome(
    work: Work, todo: Mapping[str, Run], need: Callable, results: dict, before: Mapping[str, int]
) -> tuple[str, str] | None:
    """Does the first run that can be done, or finds one that another process has done.

    Args:
      work: the study.
      todo: {name: run} of those not done, in order.
      need: name of a run -> names of those that must be finished before it.
      results: {name of a run: result}; that of the run is added.
      before: {name of a run: time of its failure} when this process started.

    Returns:
      (name, outcome) of the run, whose outcome is "" if another process has finished it; None if
      all runs are done by other processes, or need such a run.
    """
    needing, used = [], False
    for run in todo.values():
        if any(name in todo for name in need(run.name)):
            needing.append(run)
            continue
        with sharing.claim(work.folder, run.name) as mine:
            if mine:
                return run.name, outcome(work, run, results, before)
        used = True
    if used:
        return None
    # They need each other: the first says what is missing.
    return needing[0].name, outcome(work, needing[0], results, before)


def needed(work: Work, run: Run) -> set[str]:
    """Returns the names of the runs that must be finished before a run."""
    rate = run.learning_rate or work.study["learning_rates"][0]
    config = work.make_config(run, work.plans[run.arm.name]["steps"], rate)
    return sharing.dependencies(work.folder, run, config, work.runs)


def outcome(work: Work, run: Run, results: dict, before: Mapping[str, int]) -> str:
    """Returns what became of a claimed run; does it if no other process has."""
    found = runner.read_result(work.folder, run.name)
    if found:
        results[run.name] = found
        return ""
    if sharing.failed_elsewhere(work.folder, run, before):
        return "failed in another process"
    return run_one(work, run, results)


def run_one(work: Work, run: Run, results: dict) -> str:
    """Does one run and returns its outcome as one line.

    Args:
      work: the study.
      run: the run.
      results: {name of a run: result}; that of the run is added.
    """
    plan, learning_rate = work.plans[run.arm.name], run.learning_rate
    if plan["refused"]:
        return f"refused: {plan['refused']}"
    print(f"{run.name}: log in {work.folder}/runs/{run.name}/log.txt", flush=True)
    try:
        if learning_rate is None:
            learning_rates = arithmetic.select_learning_rates(results, work.runs, work.study)
            if run.arm.batch not in learning_rates:
                raise ValueError(
                    f"the tuning runs of batch {run.arm.batch} are not finished: no learning rate"
                )
            learning_rate = learning_rates[run.arm.batch]
        config = work.make_config(run, plan["steps"], learning_rate)
        results[run.name] = runner.run_trial(work.folder, run, config, work.allow_changed)
    # A failed run must not stop the others; the report names it.
    except Exception as error:
        # Of several processes the others cannot know of it, and would wait for this one.
        if jax.process_count() > 1 or was_interrupted(error):
            raise
        runner.record_failure(work.folder, run.name)
        return f"failed: {type(error).__name__}: {error}"
    finally:
        jax.clear_caches()  # Compiled programs of other arms are not reused.
    return arithmetic.summary_line(results[run.name])


def was_interrupted(error: BaseException) -> bool:
    """Whether an error was raised while the end of the program was prepared, e.g. by saving."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, preemption.Interrupted):
            return True
    return False
