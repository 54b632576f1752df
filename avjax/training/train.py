"""A training run: build, restore or initialize, train, evaluate."""

import functools
import logging
import os
import signal
from collections.abc import Callable

import jax
import optax

from avjax.config.build import build
from avjax.data import fingerprint, pipeline, unreadable_files
from avjax.data.source import NoRecords, coverage as coverage
from avjax.runtime import (
    checkpoint,
    metrics_writer,
    preemption,
    provenance,
    sharding,
    workdir as workdirs,
)
from avjax.training import init_examples, init_from, precision, refresh, sources, state
from avjax.training.evaluation import make_evaluate
from avjax.training.loop import Run, loop, print_on_process_zero
from avjax.types import Method, TrainState


def run(
    config: dict,
    workdir: str | os.PathLike,
    report: Callable | None = None,
    train: bool = True,
    at_steps: Callable[[int], dict] | None = None,
    allow_changed_data: bool = False,
) -> TrainState:
    """Trains as `config` says, or resumes from the latest checkpoint in `workdir`.

    On Ctrl-C and SIGTERM a checkpoint is saved, the report written, and preemption.Interrupted
    raised.

    Args:
      config: a plain dict, as in `configs/`.
      workdir: the folder of the run.
      report: called with the workdir after each evaluation and at the end.
      train: False evaluates the latest checkpoint without training.
      at_steps: steps -> `config` with that many, if the number changes; see `workdir`.
      allow_changed_data: resume even if the files are not those that the run started with.

    Returns:
      The final TrainState.
    """
    workdir = workdirs.check_config(workdir, config, at_steps)
    if not train and not (workdir / "checkpoints").is_dir():
        raise FileNotFoundError(f"{workdir} holds no checkpoint to evaluate: train it first")
    # With many processes JAX handles SIGTERM: all must stop at the same step.
    numbers = tuple(preemption.SIGNALS) if jax.process_count() == 1 else (signal.SIGINT,)
    with (
        preemption.watch(numbers) as signals,
        jax.set_mesh(sharding.mesh()),
        checkpoint.manager(workdir, config["max_to_keep"]) as checkpoints,
    ):
        try:
            ts = run_in_workdir(
                config, workdir, report, train, at_steps, allow_changed_data, checkpoints, signals
            )
        except preemption.Interrupted as stop:
            checkpoints.wait_until_finished()
            if report and jax.process_index() == 0 and workdirs.existing_config(workdir):
                report(workdir)
            stop.report(workdirs.resume_message(workdir, checkpoints.latest_step()))
            raise
    if report and jax.process_index() == 0:
        report(workdir)
    return ts


def run_in_workdir(
    config, workdir, report, train, at_steps, allow_changed_data, checkpoints, signals
) -> TrainState:
    """The run itself, see `run`."""
    mesh = sharding.mesh()
    with sharding.process_zero_first("sources"):  # The others reuse its files.
        built, found = sources.build_sources(config)
        prints, changes = sources.check_unchanged(workdir, found, allow_changed_data)
        method, evals = build_method(config), build_evaluators(built)
    data = build(built["data"]["train"])
    data |= pipeline_args(config, method)
    data |= dict(on_error=metrics_writer.unreadable_file_log(workdir, jax.process_index()))
    print_on_process_zero(f"{data['source'].name}: {coverage(data['source'])}")
    print_on_process_zero("reading the first batches and compiling the initialization")
    method, ts, shardings = init_or_restore(config, method, data, mesh, checkpoints)
    if not train and int(ts.step) == 0:
        raise FileNotFoundError(f"{workdir} holds no checkpoint to evaluate: train it first")
    log = open_run(config, workdir, at_steps, prints, changes, int(ts.step))
    note = provenance.record(workdir, data["source"], ts.params, int(ts.step))

    def renew_report(step):
        note(step)
        if report and jax.process_index() == 0 and step < config["steps"]:
            report(workdir)

    embed = make_embed(method, mesh)
    evaluate = make_evaluate(workdir, log, evals, embed, skip_logged=train, on_done=renew_report)
    if train:
        step = make_step(method, build(config["optimizer"]), shardings, mesh)
        renew = refresh.make_refresh(built, method, data, mesh, shardings)
        options = process_shard() | dict(on_skipped=unreadable_files.log_skipped)
        batches = functools.partial(pipeline.train_batches, **data, **options)
        ts = loop(Run(config, mesh, batches, step, renew, evaluate, checkpoints, log, signals), ts)
        checkpoints.wait_until_finished()
    evaluate(ts, int(ts.step), always=True)
    note(int(ts.step))
    return ts


def pipeline_args(config: dict, method: Method) -> dict:
    """Returns the arguments of `pipeline.train_batches` that come from the run and its method."""
    return dict(
        batch_size=config["batch_size"], seed=config["seed"], needs_audio=method.needs_audio
    )


def open_run(config, workdir, at_steps, prints, changes, step: int) -> metrics_writer.Log:
    """Opens the folder of a run that starts or resumes at `step`; returns its log."""
    for change in changes:
        print_on_process_zero(f"the data have changed, as allowed: {change}")
    if workdirs.existing_config(workdir):
        print_on_process_zero(workdirs.steps_change_message(workdir, config))
    if step:
        print_on_process_zero(
            f"resuming from step {step} of {config['steps']}: {workdir}/checkpoints/{step}"
        )
    writes = jax.process_index() == 0
    workdirs.open_workdir(workdir, config, at_steps, write=writes)
    if writes:
        fingerprint.write(workdir, prints, changes, step)
    return metrics_writer.open_log(workdir, step, write=writes)


def build_method(config) -> Method:
    """Builds the config's method; config.device_transform is applied to each batch first."""
    method = build(config["method"], "config.method")
    if not config.get("device_transform"):
        return method
    transform = build(config["device_transform"], "config.device_transform")
    extract = method.extract
    return method._replace(
        init=lambda rng, batch, size: method.init(rng, transform(batch), size),
        loss=lambda params, state, batch, rng: method.loss(params, state, transform(batch), rng),
        embed=lambda params, state, batch: method.embed(params, state, transform(batch)),
        extract=extract and (lambda params, state, batch: extract(params, state, transform(batch))),
    )


def init_or_restore(config, method: Method, data, mesh, checkpoints):
    """Restores the latest checkpoint, or initializes a new state.

    On an accelerator the convolutions of 16-bit nets are tested first; those that it computes
    wrongly run in float32 in the returned method.

    Returns (method, TrainState, its shardings).
    """
    tx, size = build(config["optimizer"]), len(data["source"])
    rng = jax.random.key(config["seed"])
    new = checkpoints.latest_step() is None
    # Front ends estimate their statistics on these; a restored state needs shapes only.
    batch = sharding.shard_batch(
        init_examples.first_clips(data, config["init_examples"] if new else 1), mesh
    )
    init = state.make_init(method, tx, size)
    shapes, shardings = state.abstract_state(init, rng, batch, mesh, config["sharding_rules"])
    if jax.default_backend() != "cpu" and {"bfloat16", "float16"} & set(
        leaf_strings(config["method"])
    ):
        one = {
            k: jax.ShapeDtypeStruct((config["batch_size"], *v.shape[1:]), v.dtype)
            for k, v in batch.items()
        }
        method = precision.with_float32_fallback(method, shapes.params, shapes.state, one)
        init = state.make_init(method, tx, size)
    if new:
        ts = jax.jit(init, out_shardings=shardings)(rng, batch)
        if config.get("init_from"):
            ts, line = init_from.apply(ts, config["init_from"], method.inherits, data["source"])
            print_on_process_zero(line)
            ts = ts.replace(opt=jax.jit(tx.init, out_shardings=shardings.opt)(ts.params))
        return method, ts, shardings
    return method, checkpoint.restore(checkpoints, shapes, shardings), shardings


def leaf_strings(spec) -> list[str]:
    """Returns all leaves of a config as strings."""
    return [str(leaf) for leaf in jax.tree.leaves(spec)]


def make_step(method: Method, tx, shardings, mesh):
    """Returns the jitted function (state, batch) -> (state, metrics); it donates the state.

    The optimizer gets the loss as `value`, which `optax.contrib.reduce_on_plateau` requires.
    """
    tx = optax.with_extra_args_support(tx)

    def step(ts, batch):
        rng = jax.random.fold_in(ts.rng, ts.step)
        grad = jax.value_and_grad(method.loss, has_aux=True)
        (loss, (state, metrics)), grads = grad(ts.params, ts.state, batch, rng)
        updates, opt = tx.update(grads, ts.opt, ts.params, value=loss)
        params = optax.apply_updates(ts.params, updates)
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads), **metrics}
        return ts.replace(step=ts.step + 1, params=params, opt=opt, state=state), metrics

    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, sharding.replicated(mesh)))


def make_embed_fn(method: Method):
    """Returns (params, state, batch) -> the embeddings of a batch, see `types.Evaluator`.

    Where silence stands in for missing audio, "mask" is False in all modalities but "video".
    """

    def embed(params, state, batch):
        known = {k: batch[k] for k in ("index", "label", "mask")}
        sounding = known["mask"] & (batch["has_audio"] if "audio" in batch else True)
        out = dict(method.embed(params, state, batch))
        for name in (name for name, value in out.items() if isinstance(value, dict)):
            out[name] = out[name] | {"mask": known["mask"] if name == "video" else sounding}
        return out | known

    return embed


def make_embed(method: Method, mesh):
    """Returns (state, this host's batch) -> NumPy arrays of the global batch."""
    embed = jax.jit(make_embed_fn(method), out_shardings=sharding.replicated(mesh))
    return lambda ts, batch: jax.device_get(
        embed(ts.params, ts.state, sharding.shard_batch(batch, mesh))
    )


def build_evaluators(config) -> dict:
    """Builds {name: (every, evaluator)}; every 0: before the first step and after the last.

    An evaluation whose split has no records is left out with a warning.
    """
    made = {}
    for name, spec in config["evals"].items():
        spec = dict(spec)
        every = spec.pop("every", 0)
        try:
            made[name] = every, build(spec, f"config.evals.{name}")
        except NoRecords as error:
            logging.getLogger(__name__).warning("evaluation %s left out: %s", name, error)
    return made


def process_shard() -> dict:
    """Returns this host's share of every batch, an argument of `pipeline.train`."""
    return {"shard": (jax.process_index(), jax.process_count())}
