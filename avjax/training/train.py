"""A training run, from the first batch to the last evaluation."""

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
from avjax.training.loop import Run, loop, say
from avjax.types import Method, TrainState


def run(
    config: dict,
    workdir: str | os.PathLike,
    report: Callable | None = None,
    train: bool = True,
    at_steps: Callable[[int], dict] | None = None,
    allow_changed_data: bool = False,
) -> TrainState:
    """Trains as `config` says, or resumes from the newest checkpoint in `workdir`.

    Ctrl-C and SIGTERM save a checkpoint, write the report, and raise preemption.Interrupted.

    Args:
      config: a plain dict, as in `configs/`.
      report: called with the workdir after each evaluation and at the end.
      train: False evaluates the newest checkpoint and trains no further.
      at_steps: steps -> `config` with that many, for a run that is lengthened; see workdir.check.
      allow_changed_data: resume although the files are not those that the run began with.
    """
    workdir = workdirs.check(workdir, config, at_steps)
    if not train and not (workdir / "checkpoints").is_dir():
        raise FileNotFoundError(f"{workdir} holds no checkpoint to evaluate: train it first")
    # JAX itself watches for SIGTERM in runs of many processes, which must stop at the same step.
    numbers = tuple(preemption.SIGNALS) if jax.process_count() == 1 else (signal.SIGINT,)
    with (
        preemption.watch(numbers) as signals,
        jax.set_mesh(sharding.mesh()),
        checkpoint.manager(workdir, config["keep"]) as checkpoints,
    ):
        try:
            ts = go(
                config, workdir, report, train, at_steps, allow_changed_data, checkpoints, signals
            )
        except preemption.Interrupted as stop:
            checkpoints.wait_until_finished()
            if report and jax.process_index() == 0 and workdirs.begun(workdir):
                report(workdir)
            stop.report(workdirs.saved(workdir, checkpoints.latest_step()))
            raise
    if report and jax.process_index() == 0:
        report(workdir)
    return ts


def go(
    config, workdir, report, train, at_steps, allow_changed_data, checkpoints, signals
) -> TrainState:
    """The run itself, see `run`."""
    mesh = sharding.mesh()
    with sharding.process_zero_first("sources"):  # What it renders or decodes, the others find.
        built, found = sources.built(config)
        prints, changes = sources.check(workdir, found, allow_changed_data)
        method, evals = made(config), evaluators(built)
    data = build(built["data"]["train"])
    data |= learning(config, method)
    data |= dict(on_error=metrics_writer.fault(workdir, jax.process_index()))
    say(f"{data['source'].name}: {coverage(data['source'])}")
    say("reading the first batches and compiling the initialization")
    method, ts, places = start(config, method, data, mesh, checkpoints)
    if not train and int(ts.step) == 0:
        raise FileNotFoundError(f"{workdir} holds no checkpoint to evaluate: train it first")
    log = opened(config, workdir, at_steps, prints, changes, int(ts.step))
    note = provenance.record(workdir, data["source"], ts.params, int(ts.step))

    def renew_report(step):
        note(step)
        if report and jax.process_index() == 0 and step < config["steps"]:
            report(workdir)

    embed = make_embed(method, mesh)
    evaluate = make_evaluate(workdir, log, evals, embed, skip=train, then=renew_report)
    if train:
        step = make_step(method, build(config["optimizer"]), places, mesh)
        renew = refresh.renewal(built, method, data, mesh, places)
        batches = functools.partial(
            pipeline.train_batches, **data, **shard(), on_skipped=unreadable_files.log_skipped
        )
        ts = loop(Run(config, mesh, batches, step, renew, evaluate, checkpoints, log, signals), ts)
        checkpoints.wait_until_finished()
    evaluate(ts, int(ts.step), always=True)
    note(int(ts.step))
    return ts


def learning(config: dict, method: Method) -> dict:
    """What `pipeline.train` takes that is not the data set's: of the run, and of its method."""
    return dict(
        batch_size=config["batch_size"], seed=config["seed"], needs_audio=method.needs_audio
    )


def opened(config, workdir, at_steps, prints, changes, step: int) -> metrics_writer.Log:
    """Claims the folder of a run that begins or resumes at `step`, and says what it resumes."""
    for change in changes:
        say(f"the data have changed, as allowed: {change}")
    if workdirs.begun(workdir):
        say(workdirs.lengthened(workdir, config))
    if step:
        say(f"resuming from step {step} of {config['steps']}: {workdir}/checkpoints/{step}")
    writes = jax.process_index() == 0
    workdirs.claim(workdir, config, at_steps, write=writes)
    if writes:
        fingerprint.write(workdir, prints, changes, step)
    return metrics_writer.metrics(workdir, step, write=writes)


def made(config) -> Method:
    """The config's method; what is to be done with a batch on the device, it does first."""
    method = build(config["method"], "config.method")
    if not config.get("on_device"):
        return method
    change, ask = build(config["on_device"], "config.on_device"), method.extract
    return method._replace(
        init=lambda rng, batch, size: method.init(rng, change(batch), size),
        loss=lambda params, state, batch, rng: method.loss(params, state, change(batch), rng),
        embed=lambda params, state, batch: method.embed(params, state, change(batch)),
        extract=ask and (lambda params, state, batch: ask(params, state, change(batch))),
    )


def start(config, method: Method, data, mesh, checkpoints):
    """(method, state, its shardings): of the newest checkpoint, or new.

    Nets of 16 bits are tried out on the accelerator first: the method comes back with the
    convolutions that it gets wrong in float32.
    """
    tx, size = build(config["optimizer"]), len(data["source"])

    rng = jax.random.key(config["seed"])
    new = checkpoints.latest_step() is None
    # A front end measures its statistics on these: as few as will do, as many as needed.
    batch = sharding.put(init_examples.clips(data, config["calibration"] if new else 1), mesh)
    init = state.initializer(method, tx, size)
    shapes, places = state.abstract(init, rng, batch, mesh, config["sharding"])
    if jax.default_backend() != "cpu" and {"bfloat16", "float16"} & set(words(config["method"])):
        one = {
            k: jax.ShapeDtypeStruct((config["batch_size"], *v.shape[1:]), v.dtype)
            for k, v in batch.items()
        }
        method = precision.with_float32_fallback(method, shapes.params, shapes.state, one)
        init = state.initializer(method, tx, size)
    if new:
        ts = jax.jit(init, out_shardings=places)(rng, batch)
        if config.get("init_from"):
            ts, line = init_from.apply(ts, config["init_from"], method.inherits, data["source"])
            say(line)
            ts = ts.replace(opt=jax.jit(tx.init, out_shardings=places.opt)(ts.params))
        return method, ts, places
    return method, checkpoint.restore(checkpoints, shapes, places), places


def words(spec) -> list[str]:
    """All leaves of a config, as text."""
    return [str(leaf) for leaf in jax.tree.leaves(spec)]


def make_step(method: Method, tx, places, mesh):
    """(state, batch) -> (state, metrics), compiled.

    The optimizer is told the loss, as `value`: `optax.contrib.reduce_on_plateau` wants it.
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

    return jax.jit(step, donate_argnums=0, out_shardings=(places, sharding.replicated(mesh)))


def embedding(method: Method):
    """(params, state, batch) -> what an evaluator gets of a batch, as types.Evaluator says.

    Silence that stands for missing sound is masked in all modalities but "video".
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
    """(state, a host's batch) -> NumPy arrays of the global batch."""
    embed = jax.jit(embedding(method), out_shardings=sharding.replicated(mesh))
    return lambda ts, batch: jax.device_get(embed(ts.params, ts.state, sharding.put(batch, mesh)))


def evaluators(config) -> dict:
    """{name: (every, evaluator)}; every 0 is: before the first step and after the last.

    An evaluation of which a split has no records is left out, and the log says so.
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


def shard() -> dict:
    """This host's share of every batch."""
    return {"shard": (jax.process_index(), jax.process_count())}
