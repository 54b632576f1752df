"""A training run: restore or initialize, train, evaluate."""

import contextlib
import functools
import os
from collections.abc import Callable, Collection

import jax

from avjax.data import fingerprint, pipeline, unreadable_files
from avjax.data.source import coverage
from avjax.runtime import (
    checkpoint,
    code_version,
    metrics_writer,
    preemption,
    profiling,
    provenance,
    run_lock,
    sharding,
    watchdog,
    workdir as workdirs,
)
from avjax.training import device_arrays, nonfinite, refresh, sources
from avjax.training.evaluation import make_evaluate, not_logged
from avjax.training.experiment import Experiment, training_data
from avjax.training.loop import Run, copy_nets, loop, print_on_process_zero
from avjax.training.state import init_or_restore, untrained_nets
from avjax.training.step import make_embed, make_step
from avjax.types import TrainState


def run(
    experiment: Experiment,
    workdir: str | os.PathLike,
    report: Callable | None = None,
    train: bool = True,
    at_steps: Callable[[int], dict] | None = None,
    allow_changed: Collection[str] = (),
) -> TrainState:
    """Trains an experiment, or resumes from the latest checkpoint in `workdir`.

    On Ctrl-C, SIGTERM and SIGUSR1 a checkpoint is saved, the report written, and
    preemption.Interrupted raised.  A run that hangs is ended, see `watchdog.watch`.

    Args:
      experiment: the parts of the run, as `experiment.build` returns them.
      workdir: the folder of the run.
      report: called with the workdir after each evaluation and at the end.
      train: False evaluates the latest checkpoint without training: evaluations are added to
        metrics.csv, evals/ and the report; nothing else in the folder changes.
      at_steps: steps -> the config with that many, if the number changes; see `workdir`.
      allow_changed: resume even if the "data" (files, or the folders that they are in), or the
        "code" (versions of avjax and the libraries), or the "config", are not those that the run
        started with.

    Returns:
      The final TrainState.

    Raises:
      ValueError: the config does not fit the run in the folder, another process trains there, or
        all of its checkpoints are damaged.
    """
    workdir = workdirs.check_config(workdir, experiment.config, at_steps, allow_changed)
    if not train:
        workdirs.check_is_trained(workdir)
    writes = train and jax.process_index() == 0
    with (
        preemption.watch() as signals,
        run_lock.hold(workdir) if writes else contextlib.nullcontext(),
        jax.set_mesh(sharding.mesh(fsdp=experiment.settings.fsdp)),
        checkpoint.open_checkpoints(workdir, write=train) as checkpoints,
        watchdog.watch(workdir, experiment.settings.watchdog if train else 0) as dog,
    ):
        try:
            ts = run_in_workdir(
                experiment, workdir, report, train, at_steps, allow_changed, checkpoints, signals,
                dog,
            )  # fmt: skip
        except preemption.Interrupted as stop:
            dog.stop()
            with dog.saving():
                checkpoint.wait_until_finished(checkpoints, experiment.settings.max_to_keep)
            if report and jax.process_index() == 0 and workdirs.existing_config(workdir):
                report(workdir)
            stop.report(workdirs.resume_message(workdir, checkpoints.manager.latest_step()))
            raise
    if report and jax.process_index() == 0:
        report(workdir)
    return ts


def run_in_workdir(
    experiment, workdir, report, train, at_steps, allow_changed, checkpoints, signals, dog
) -> TrainState:  # fmt: skip
    """The run itself, see `run`."""
    mesh, last = sharding.mesh(fsdp=experiment.settings.fsdp), experiment.settings.steps
    fingerprints, changes = sources.check_unchanged(
        workdir, experiment.sources, "data" in allow_changed
    )
    resumes = train and 0 < (checkpoints.manager.latest_step() or 0) < last
    accepted = accepted_changes(workdir, experiment, at_steps, allow_changed) if resumes else []
    sources.prepare(experiment.data)
    data = training_data(experiment)
    data |= dict(on_error=metrics_writer.unreadable_file_log(workdir, jax.process_index(), train))
    print_on_process_zero(f"{data['source'].name}: {coverage(data['source'])}")
    print_on_process_zero("reading the first batches and compiling the initialization")
    experiment, ts, shardings = init_or_restore(experiment, data, mesh, checkpoints, train)
    profiling.mark("initialization, or the checkpoint")
    if not train and int(ts.step) == 0:
        raise FileNotFoundError(f"{workdir} holds no checkpoint to evaluate: train it first")
    stale = report and train and workdirs.report_is_stale(workdir)
    if train:
        print_on_process_zero("changed, as allowed: " * bool(accepted) + ", ".join(accepted))
        log = open_run(
            experiment.config, workdir, at_steps, allow_changed, fingerprints, changes, int(ts.step)
        )
        code = code_version.current()
        note = provenance.record(workdir, data["source"], ts.params, int(ts.step), code, accepted)
    else:
        log, note = open_evaluation(workdir, changes, int(ts.step)), lambda step: None

    def note_progress(step):
        log.pending.attempt(f"{workdir}/run.json", functools.partial(note, step))

    def renew_report(step):
        note_progress(step)
        if report and jax.process_index() == 0 and step < last:
            report(workdir)

    if stale and log.has(int(ts.step), "eval/"):
        renew_report(int(ts.step))
    embed = make_embed(experiment.method, mesh, shardings)
    evaluate = make_evaluate(workdir, log, experiment.evals, embed, signals, train, renew_report)
    if train:
        parts = parts_of_loop(
            experiment, workdir, data, mesh, shardings, evaluate, checkpoints, log, signals, dog
        )
        ts = loop(parts, ts)
        profiling.restart()
        dog.stop()
        with dog.saving():
            checkpoint.wait_until_finished(checkpoints, experiment.settings.max_to_keep)
    evaluate(ts, int(ts.step), always=True)
    note_progress(int(ts.step))
    log.pending.finish()
    return ts


def accepted_changes(workdir, experiment, at_steps, allow_changed) -> list[str]:
    """Returns what has changed since the run started, in code and config, and is allowed to.

    Raises:
      ValueError: the code has changed, and "code" is not in `allow_changed`.
    """
    accepted = code_version.check_unchanged(workdir, "code" in allow_changed)
    if "config" in allow_changed:
        found = workdirs.config_changes(workdir, experiment.config, at_steps)
        accepted += [f"config.{key} {old!r} -> {new!r}" for key, (old, new) in found.items()]
    return accepted


def parts_of_loop(
    experiment, workdir, data, mesh, shardings, evaluate, checkpoints, log, signals, dog
) -> Run:
    """Returns what `loop` needs; `data` are the options of `pipeline.train_batches`."""
    settings, records = experiment.settings, data["source"].records
    step, batches = steps_and_batches(experiment, data, mesh, shardings)
    skipped = nonfinite.Count(
        settings.max_nonfinite_steps,
        nonfinite.batch_writer(workdir, records, jax.process_index()),
        print_on_process_zero,
        nonfinite.learning_rate_key(experiment.config),
    )
    return Run(
        settings=settings,
        mesh=mesh,
        batches=batches,
        step=step,
        refresh=refresh.make_refresh(experiment, data, mesh, shardings, signals.point),
        evaluate=evaluate if experiment.evals else None,
        untrained=functools.partial(untrained, experiment, data, mesh, shardings, log),
        checkpoints=checkpoints,
        log=log,
        skipped=skipped,
        signals=signals,
        dog=dog,
        profile=workdirs.profile_folder(workdir) if settings.profile else None,
    )


def steps_and_batches(experiment, data, mesh, shardings) -> tuple[Callable, Callable]:
    """Returns (the training step, (start, stop) -> this host's batches for it).

    Vectors of the records that fit the devices are copied there, and the step gathers its batch.
    """
    shard = jax.process_index(), jax.process_count()
    options = data | dict(shard=shard, on_skipped=unreadable_files.log_skipped)
    batches = functools.partial(pipeline.train_batches, **options)
    if (arrays := device_arrays.place(data["source"].arrays, mesh)) is None:
        return make_step(experiment, shardings, mesh), batches
    loss = device_arrays.gathering(experiment.method.loss, arrays.divided)
    gathers = experiment._replace(method=experiment.method._replace(loss=loss))

    def with_arrays(start, stop):
        rows = batches(start=start, stop=stop, rows_only=True)
        return device_arrays.with_arrays(rows, arrays)

    return make_step(gathers, shardings, mesh), with_arrays


def untrained(experiment, data, mesh, shardings, log, ts: TrainState) -> TrainState | None:
    """Returns the nets that the run started with, None if all evaluations of them are logged.

    A run that was stopped in these evaluations does the rest of them when it resumes.
    """
    if not not_logged(log, experiment.evals, 0):
        return None
    if int(ts.step) == 0:
        return copy_nets(ts)
    print_on_process_zero("making the untrained nets again: not all evaluations of them are there")
    return untrained_nets(experiment, data, mesh, shardings)


def open_run(
    config, workdir, at_steps, allow_changed, fingerprints, changes, step: int
) -> metrics_writer.Log:
    """Opens the folder of a run that starts or resumes at `step`; returns its log."""
    print_changes(changes)
    if workdirs.existing_config(workdir):
        print_on_process_zero(workdirs.steps_change_message(workdir, config))
    if step:
        print_on_process_zero(
            f"resuming from step {step} of {config['steps']}: {workdir}/checkpoints/{step}"
        )
    writes = jax.process_index() == 0
    workdirs.open_workdir(workdir, config, at_steps, writes, allow_changed)
    if writes:
        fingerprint.write(workdir, fingerprints, changes, step)
    return metrics_writer.open_log(workdir, step, write=writes)


def open_evaluation(workdir, changes, step: int) -> metrics_writer.Log:
    """Opens the log of a run that may be going on: evaluations of `step` are added to it."""
    print_changes(changes)
    print_on_process_zero(f"evaluating step {step}: {workdir}/checkpoints/{step}")
    writes = jax.process_index() == 0
    return metrics_writer.open_log(workdir, step, write=writes, append_only=True)


def print_changes(changes: list[str]) -> None:
    """Prints the changes of the data that were allowed."""
    for change in changes:
        print_on_process_zero(f"the data have changed, as allowed: {change}")
