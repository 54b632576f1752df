"""A training run, from the first batch to the last evaluation."""

import logging
import time

import jax
import numpy as np
import optax

from avjax import calibration, checkpoint, logs, provenance, sharding, state, survey, workdirs
from avjax.build import build
from avjax.data import faults, pipeline
from avjax.data.source import NoRecords, found
from avjax.nets import probe
from avjax.types import Method, TrainState


def run(config: dict, workdir, report=None, train: bool = True) -> TrainState:
    """Trains as `config` says, or goes on where the newest checkpoint in `workdir` ends.

    config: a plain dict, as in `configs/`.  report: called with the workdir after each evaluation
    and at the end.
    train: False evaluates the newest checkpoint and trains no further.
    """
    workdir = workdirs.claim(workdir, config)
    mesh = sharding.mesh()
    with jax.set_mesh(mesh), checkpoint.manager(workdir, config["keep"]) as checkpoints:
        fault = logs.fault(workdir)
        method, evals = made(config), evaluators(config)
        data = build(config["data"]["train"])
        data |= dict(batch_size=config["batch_size"], seed=config["seed"], on_fault=fault)
        print(f"{data['source'].name}: {found(data['source'])}", flush=True)
        method, ts, places = start(config, method, data, mesh, checkpoints)
        if not train and int(ts.step) == 0:
            raise FileNotFoundError(f"{workdir} holds no checkpoint to evaluate: train it first")
        log, embed = logs.metrics(workdir, int(ts.step)), make_embed(method, mesh)
        note = provenance.record(workdir, data["source"], ts.params, int(ts.step))

        def judge(ts, step, always):
            due = [n for n, (every, _) in evals.items() if always or every and step % every == 0]
            due = [n for n in due if not (train and log.has(step, f"eval/{n}/"))]
            for name in due:
                log.write(step, judged(workdir, name, evals[name][1](embed, ts)))
            if due:
                note(step)
            if due and report and jax.process_index() == 0 and step < config["steps"]:
                report(workdir)

        if train:
            ts = loop(config, method, data, mesh, ts, places, checkpoints, log, judge)
            checkpoints.wait_until_finished()
        judge(ts, int(ts.step), always=True)
        note(int(ts.step))
    if report and jax.process_index() == 0:
        report(workdir)
    return ts


def loop(config, method, data, mesh, ts, places, checkpoints, log, judge) -> TrainState:
    """Steps from where `ts` is to the end of the run."""
    first, last = int(ts.step), config["steps"]
    if first == 0:
        judge(ts, 0, always=True)  # Untrained: what the trained nets are compared with.
    step = make_step(method, build(config["optimizer"]), places, mesh)
    renew = survey.renewal(config, method, data, mesh, places)
    progress, window, previous = logs.progress(last, first), [], None
    batches = pipeline.train(
        **data, **shard(), start=first, stop=last, on_skipped=faults.report_skipped
    )
    since, waited, shares = time.perf_counter(), np.zeros(2), []
    for n in range(first + 1, last + 1):
        if renew and survey.due(n - 1, config["refresh_every"]):
            ts = renew(ts)
        batch, *times = fetch(batches, mesh)
        if previous is None or previous["loss"].is_ready():
            waited += times  # In the end the device had nothing to do.
        ts, metrics = step(ts, batch)
        window.append(metrics)
        jax.block_until_ready(previous)  # One step ahead of the device is enough.
        previous = metrics
        scalars = None
        if n % config["log_every"] == 0 or n == last:
            scalars = average(window)
            logs.check_finite(n, scalars)
            seconds = time.perf_counter() - since
            scalars["clips_per_second"] = len(window) * config["batch_size"] / seconds
            shares.append(waited / seconds)
            scalars |= dict(zip(("wait_share", "transfer_share"), shares[-1]))
            log.write(n, scalars)
        progress.advance(n, scalars)
        if n % config["save_every"] == 0 or n == last:
            logs.check_finite(n, average([metrics]))  # What is saved must be sound.
            checkpoint.save(checkpoints, ts)
        if n < last:
            judge(ts, n, always=False)
        if scalars:  # Saving and judging are not training time.
            window, since, waited = [], time.perf_counter(), np.zeros(2)
    progress.close()
    if shares:
        print(logs.bound(*np.median(shares, axis=0)), flush=True)
    return ts


def fetch(batches, mesh):
    """(the next batch, on the devices; seconds it took to be decoded; to be transferred)."""
    asked = time.perf_counter()
    batch = next(batches)
    decoded = time.perf_counter()
    # Nothing is lost by waiting: the next step cannot begin earlier.
    batch = jax.block_until_ready(sharding.put(batch, mesh))
    return batch, decoded - asked, time.perf_counter() - decoded


def made(config) -> Method:
    """The config's method; what is to be done with a batch on the device, it does first."""
    method = build(config["method"])
    if "on_device" not in config:
        return method
    change, ask = build(config["on_device"]), method.survey
    return method._replace(
        init=lambda rng, batch, size: method.init(rng, change(batch), size),
        loss=lambda params, state, batch, rng: method.loss(params, state, change(batch), rng),
        embed=lambda params, state, batch: method.embed(params, state, change(batch)),
        survey=ask and (lambda params, state, batch: ask(params, state, change(batch))),
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
    batch = sharding.put(calibration.clips(data, config["calibration"] if new else 1), mesh)
    init = state.initializer(method, tx, size)
    shapes, places = state.abstract(init, rng, batch, mesh, config["sharding"])
    if jax.default_backend() != "cpu" and {"bfloat16", "float16"} & set(words(config["method"])):
        one = {
            k: jax.ShapeDtypeStruct((config["batch_size"], *v.shape[1:]), v.dtype)
            for k, v in batch.items()
        }
        method = probe.mended(method, shapes.params, shapes.state, one)
        init = state.initializer(method, tx, size)
    if new:
        ts = jax.jit(init, out_shardings=places)(rng, batch)
        if config.get("init_from"):
            ts = checkpoint.begun(ts, config["init_from"])
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


def make_embed(method: Method, mesh):
    """(state, a host's batch) -> NumPy arrays of the global batch, as types.Evaluator says."""

    def embed(params, state, batch):
        known = {k: batch[k] for k in ("index", "label", "mask")}
        if "audio" in batch and "video" in batch:  # Silence by absence says nothing of a picture.
            known["mask"] &= batch["has_audio"]
        return {**method.embed(params, state, batch), **known}

    embed = jax.jit(embed, out_shardings=sharding.replicated(mesh))
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
            made[name] = every, build(spec)
        except NoRecords as error:
            logging.getLogger(__name__).warning("evaluation %s left out: %s", name, error)
    return made


def shard() -> dict:
    """This host's share of every batch."""
    return {"shard": (jax.process_index(), jax.process_count())}


def average(window) -> dict:
    """The mean of each metric over the steps in `window`."""
    window = jax.device_get(window)
    return {name: float(np.mean([m[name] for m in window])) for name in window[0]}


def judged(workdir, name, values) -> dict:
    """Saves an evaluator's arrays and returns its scalars, named for the log."""
    if tables := {k: v for k, v in values.items() if np.ndim(v)}:
        logs.arrays(workdir, name, tables)
    scalars = {f"eval/{name}/{k}": float(v) for k, v in values.items() if not np.ndim(v)}
    for k, v in scalars.items():
        print(f"{k}  {v:.2f}", flush=True)
    return scalars
