"""Checks a config as a whole before the first step, and summarizes what a run will do.

Everything is built; one batch of every data set is read; initialization, one training step and
the embedding of each evaluation's batch are traced for their shapes.  Nothing is compiled.
"""

import contextlib
import functools
import json
import math

import jax

from avjax.config import app, ranges
from avjax.config.build import build
from avjax.data import clip_sampling, pipeline
from avjax.data.source import NoRecords, Source, coverage, unique_notes
from avjax.losses import pairs
from avjax.nets.flops import gmacs
from avjax.runtime import sharding
from avjax.training import init_from, refresh, settings, state, train
from avjax.types import Method


def check(config: dict, folder: str = "", earlier: dict | None = None) -> dict:
    """One batch of every data set in `config`, by its key; NumPy, this host's slice.

    An evaluation whose split has no records has no batch.

    Args:
      folder: that of the run.
      earlier: {folder: init_from.Other} of the runs that come before this one in a chain, and may
        not be there yet; this one joins them.

    Raises:
      ValueError: whatever of the config does not work, in one line, with its key.
    """
    settings.check(config)
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        with named("method"):
            method = train.made(config)
            if not isinstance(method, Method):
                raise ValueError(f"{config['method'].get('fn')} makes no types.Method")
        with named("optimizer"):
            settings.rates(config["optimizer"], config["steps"])
            optimizer = build(config["optimizer"], "config.optimizer")
            if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
                raise ValueError(f"{config['optimizer'].get('fn')} makes no optax optimizer")
        sources = []
        found = ((key, batch(config, key, spec, method, sources)) for key, spec in datasets(config))
        batches = {key: one for key, one in found if one is not None}
        if jax.process_index() == 0:
            print("".join(f"{note}\n" for note in unique_notes(sources)), end="", flush=True)
        with named("evals"):
            evaluators = train.evaluators(config)
        for name, (every, evaluator) in evaluators.items():
            with named(f"evals.{name}"):
                ranges.whole("every", every, 0)
                if not callable(evaluator):
                    raise ValueError(f"{config['evals'][name].get('fn')} makes no evaluator")
        run = trace(config, method, optimizer, batches, mesh, earlier)
        if earlier is not None:
            earlier[folder] = run
    return batches


def batch(config: dict, key: str, spec: dict, method: Method, sources: list) -> dict | None:
    """One batch of the data set `spec`, whose source joins `sources`; None if without records."""
    with named(key):
        try:
            data = build(spec, f"config.{key}")
        except NoRecords:
            if key.startswith("evals."):  # train.evaluators leaves such an evaluation out.
                return None
            raise
        if not isinstance(data["source"], Source) or not isinstance(
            data["clip_sampler"], clip_sampling.ClipSampler
        ):
            raise ValueError(
                "source must make a Source of avjax.data, clip_sampler one of "
                "avjax.data.clip_sampling"
            )
        sources.append(data["source"])
        settings.lengths(data["source"], data["clip_sampler"])
        if key == "data.train":
            count, asked = data["clip_sampler"].num_clips, config["method"].get("num_clips", 1)
            if asked not in (1, count):
                raise ValueError(
                    f"config.method.num_clips={asked}, but the clip_sampler has num_clips={count}"
                )
            check_negatives(config, count)
            stream = pipeline.train_batches(**data, **train.learning(config, method), stop=1)
        else:
            data = {name: value for name, value in data.items() if name != "max_unreadable"}
            size = jax.device_count() * data["clip_sampler"].num_clips
            stream = pipeline.eval_batches(**data, batch_size=size)
        with contextlib.closing(stream):
            return next(stream)


def check_negatives(config: dict, num_clips: int) -> None:
    """Raises where negatives come from the batch, and `clips` of one record fill it."""
    method = config["method"]
    negatives = build(method.get("negatives"), "config.method.negatives")
    # L3 has pairs and AVTS a curriculum: both compare clips with those of other records.
    if getattr(negatives, "symmetric_loss", None) or {"pairs", "curriculum"} & method.keys():
        pairs.check_other_records(config["batch_size"], num_clips)


def trace(config, method, optimizer, batches, mesh, earlier) -> init_from.Other:
    """Traces initialization, a step, a refresh and the embedding of each evaluation's batch.

    Returns the run as one that others start from.
    """
    shapes = {key: shapes_of(one) for key, one in batches.items()}
    source = build(config["data"]["train"]["source"])
    rng, first = jax.random.key(config["seed"]), shapes["data.train"]
    for key, one in shapes.items():
        with named(key, one):
            change = build(config.get("on_device"), "config.on_device")
            seen = jax.eval_shape(change, one) if change else one
            if "augment" in seen:
                raise ValueError(
                    "crops and colors are drawn but not applied: end transforms in "
                    "avjax.data.transforms.video.apply_on_host, or set config.on_device"
                )
    with named("method", first):
        init = state.initializer(method, optimizer, len(source))
        ts = jax.eval_shape(init, rng, first)
    with named("sharding"):
        _, places = state.abstract(init, rng, first, mesh, config["sharding"])
    with named("method", first):
        jax.eval_shape(train.make_step(method, optimizer, places, mesh), ts, first)
    with named("data.refresh"):
        refresh.renewal(config, method, build(config["data"]["train"]), mesh, places)
    for key, one in shapes.items():
        if key.startswith("evals."):
            with named(key, one):
                jax.eval_shape(train.embedding(method), ts.params, ts.state, one)
    if config.get("init_from"):
        with named("init_from"):
            init_from.check(ts, config["init_from"], method.inherits, source, earlier)
    tree = {"params": ts.params, "state": ts.state}
    return init_from.Other(tree, functools.partial(init_from.records_of, source))


@contextlib.contextmanager
def named(key: str, shapes: dict | None = None):
    """Errors come out as ValueError with the config's key in front; `shapes`: those at work."""
    try:
        yield
    except Exception as error:
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        if not app.expected(error):
            on = f"on a batch of {arrays(shapes)}; " if shapes else ""
            text = f"{type(error).__name__}: {text} ({on}--debug shows where)"
        text = text if text.startswith("config.") else f"config.{key}: {text}"
        raise ValueError(text) from error


def shapes_of(batch: dict) -> dict:
    """Shapes of the global batch of which `batch` is this host's slice."""
    hosts = jax.process_count()
    return {
        k: jax.ShapeDtypeStruct((hosts * v.shape[0], *v.shape[1:]), v.dtype)
        for k, v in batch.items()
    }


def arrays(batch: dict) -> str:
    return ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in batch.items())


def datasets(spec, key=""):
    """(key, spec) of each dataset in a config: what has a source and a clip_sampler."""
    if isinstance(spec, dict):
        if {"source", "clip_sampler"} <= spec.keys():
            yield key, spec
        elif isinstance(spec.get("source"), dict) and "fn" not in spec:
            raise ValueError(
                f"config.{key} has a source and no clip_sampler: see avjax.data.clip_sampling"
            )
        else:
            for name, part in spec.items():
                yield from datasets(part, f"{key}.{name}" if key else name)


def describe(config: dict, batches: dict) -> str:
    """The plan of a run, for a person: config, batches, parameters, devices."""
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        source = build(config["data"]["train"]["source"])
        shapes = shapes_of(batches["data.train"])
        optimizer = build(config["optimizer"])
        init = state.initializer(train.made(config), optimizer, len(source))
        ts, _ = state.abstract(init, jax.random.key(0), shapes, mesh, config["sharding"])
    lines = ["config:", json.dumps(config, indent=2), "", "batches (of this host):"]
    lines += [f"  {key}: {arrays(batch)}" for key, batch in batches.items()]
    lines += ["", f"training examples: {len(source)} ({source.name}: {coverage(source)})"]
    lines += ["parameters:", *(f"  {name}: {count(part):,}" for name, part in ts.params.items())]
    lines += [f"  all: {count(ts.params):,}", f"state, not trained: {count(ts.state):,}", ""]
    for name, macs in encoders(config, shapes):
        lines.append(f"encoder of {name}: {macs:.3f} GMACs an example")
    kind = mesh.devices.flat[0].device_kind
    lines.append(f"mesh: {dict(mesh.shape)} of {kind} ({jax.default_backend()})")
    return "\n".join(lines)


def encoders(config: dict, batch: dict):
    """Yields (modality, GMACs of an example) for the encoders of a method that has towers."""
    model = build(config["method"].get("model", {}))
    if config.get("on_device"):
        batch = jax.eval_shape(build(config["on_device"]), batch)
    for name, net in getattr(model, "encoders", {}).items():
        x = jax.ShapeDtypeStruct((1, *batch[name].shape[1:]), batch[name].dtype)
        front = functools.partial(model.frontends[name].init_with_output, train=False)
        x, _ = jax.eval_shape(front, jax.random.key(0), x)
        yield name, gmacs(net, x.shape, x.dtype)


def count(tree) -> int:
    """The number of scalars in a tree."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
