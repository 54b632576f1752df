"""Validates a config (one batch per data set) and summarizes the run.

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


def validate(config: dict, folder: str = "", earlier: dict | None = None) -> dict:
    """Builds and traces everything; returns one batch per data set.

    Args:
      config: a plain dict, as in `configs/`.
      folder: the folder of the run.
      earlier: {folder: init_from.SourceRun} of the earlier runs of a chain, which need not exist
        yet; this run is added.

    Returns:
      {key: {name: NumPy array}}, this host's slice of a batch.  An evaluation whose split has no
      records is absent.

    Raises:
      ValueError: something in the config does not work; the message starts with its key.
    """
    settings.validate(config)
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        with error_prefix("method"):
            method = train.build_method(config)
            if not isinstance(method, Method):
                raise ValueError(
                    f"{config['method'].get('fn')} does not return an avjax.types.Method"
                )
        with error_prefix("optimizer"):
            settings.check_learning_rates(config["optimizer"], config["steps"])
            optimizer = build(config["optimizer"], "config.optimizer")
            if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
                raise ValueError(
                    f"{config['optimizer'].get('fn')} does not return an optax optimizer"
                )
        sources = []
        found = (
            (key, first_batch(config, key, spec, method, sources))
            for key, spec in find_datasets(config)
        )
        batches = {key: one for key, one in found if one is not None}
        if jax.process_index() == 0:
            print("".join(f"{note}\n" for note in unique_notes(sources)), end="", flush=True)
        with error_prefix("evals"):
            evaluators = train.build_evaluators(config)
        for name, (every, evaluator) in evaluators.items():
            with error_prefix(f"evals.{name}"):
                ranges.check_integer("every", every, 0)
                if not callable(evaluator):
                    raise ValueError(
                        f"{config['evals'][name].get('fn')} does not return an evaluator"
                    )
        run = trace_run(config, method, optimizer, batches, mesh, earlier)
        if earlier is not None:
            earlier[folder] = run
    return batches


def first_batch(config: dict, key: str, spec: dict, method: Method, sources: list) -> dict | None:
    """Returns one batch of the data set `spec`, or None if an evaluation has no records.

    The built source is appended to `sources`.
    """
    with error_prefix(key):
        try:
            data = build(spec, f"config.{key}")
        except NoRecords:
            if key.startswith("evals."):  # build_evaluators skips this evaluation.
                return None
            raise
        if not isinstance(data["source"], Source) or not isinstance(
            data["clip_sampler"], clip_sampling.ClipSampler
        ):
            raise ValueError(
                "source must return an avjax.data Source, clip_sampler one of "
                "avjax.data.clip_sampling"
            )
        sources.append(data["source"])
        settings.check_clip_lengths(data["source"], data["clip_sampler"])
        if key == "data.train":
            count, expected = data["clip_sampler"].num_clips, config["method"].get("num_clips", 1)
            if expected not in (1, count):
                raise ValueError(
                    f"config.method.num_clips={expected}, but the clip_sampler has "
                    f"num_clips={count}"
                )
            check_negatives(config, count)
            stream = pipeline.train_batches(**data, **train.pipeline_args(config, method), stop=1)
        else:
            data = {name: value for name, value in data.items() if name != "max_unreadable"}
            size = jax.device_count() * data["clip_sampler"].num_clips
            stream = pipeline.eval_batches(**data, batch_size=size)
        with contextlib.closing(stream):
            return next(stream)


def check_negatives(config: dict, num_clips: int) -> None:
    """Raises ValueError if negatives come from the batch and `clips` of one record fill it."""
    method = config["method"]
    negatives = build(method.get("negatives"), "config.method.negatives")
    # L3 has pairs and AVTS a curriculum: both compare clips of different records.
    if getattr(negatives, "symmetric_loss", None) or {"pairs", "curriculum"} & method.keys():
        pairs.check_other_records(config["batch_size"], num_clips)


def trace_run(config, method, optimizer, batches, mesh, earlier) -> init_from.SourceRun:
    """Traces initialization, a step, a refresh and the embedding of each evaluation's batch.

    Returns:
      The run as a `SourceRun`, from which later runs of the chain can start.
    """
    shapes = {key: global_shapes(one) for key, one in batches.items()}
    source = build(config["data"]["train"]["source"])
    rng, first = jax.random.key(config["seed"]), shapes["data.train"]
    for key, one in shapes.items():
        with error_prefix(key, one):
            change = build(config.get("device_transform"), "config.device_transform")
            transformed = jax.eval_shape(change, one) if change else one
            if "augment" in transformed:
                raise ValueError(
                    "crop and color parameters are sampled but not applied: end transforms in "
                    "avjax.data.transforms.video.apply_on_host, or set config.device_transform"
                )
    with error_prefix("method", first):
        init = state.make_init(method, optimizer, len(source))
        ts = jax.eval_shape(init, rng, first)
    with error_prefix("sharding_rules"):
        _, shardings = state.abstract_state(init, rng, first, mesh, config["sharding_rules"])
    with error_prefix("method", first):
        jax.eval_shape(train.make_step(method, optimizer, shardings, mesh), ts, first)
    with error_prefix("data.refresh"):
        refresh.make_refresh(config, method, build(config["data"]["train"]), mesh, shardings)
    for key, one in shapes.items():
        if key.startswith("evals."):
            with error_prefix(key, one):
                jax.eval_shape(train.make_embed_fn(method), ts.params, ts.state, one)
    if config.get("init_from"):
        with error_prefix("init_from"):
            init_from.validate(ts, config["init_from"], method.inherits, source, earlier)
    tree = {"params": ts.params, "state": ts.state}
    return init_from.SourceRun(tree, functools.partial(init_from.records_of, source))


@contextlib.contextmanager
def error_prefix(key: str, shapes: dict | None = None):
    """Re-raises errors as ValueError with the config key in front.

    Args:
      key: the dotted key, without "config.".
      shapes: of the batch in use, for messages about unexpected errors.
    """
    try:
        yield
    except Exception as error:
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        if not app.is_user_error(error):
            on = f"on a batch of {format_shapes(shapes)}; " if shapes else ""
            text = f"{type(error).__name__}: {text} ({on}--debug shows where)"
        text = text if text.startswith("config.") else f"config.{key}: {text}"
        raise ValueError(text) from error


def global_shapes(batch: dict) -> dict:
    """Returns the shapes of the global batch of which `batch` is this host's slice."""
    hosts = jax.process_count()
    return {
        k: jax.ShapeDtypeStruct((hosts * v.shape[0], *v.shape[1:]), v.dtype)
        for k, v in batch.items()
    }


def format_shapes(batch: dict) -> str:
    return ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in batch.items())


def find_datasets(spec, key=""):
    """Yields (key, spec) of each data set in a config: a part with a source and a clip_sampler."""
    if isinstance(spec, dict):
        if {"source", "clip_sampler"} <= spec.keys():
            yield key, spec
        elif isinstance(spec.get("source"), dict) and "fn" not in spec:
            raise ValueError(
                f"config.{key} has a source and no clip_sampler: see avjax.data.clip_sampling"
            )
        else:
            for name, part in spec.items():
                yield from find_datasets(part, f"{key}.{name}" if key else name)


def summarize(config: dict, batches: dict) -> str:
    """Returns a summary of a run as text: config, batches, parameters, devices.

    Args:
      config: a plain dict, as in `configs/`.
      batches: as `validate` returns them.
    """
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        source = build(config["data"]["train"]["source"])
        shapes = global_shapes(batches["data.train"])
        optimizer = build(config["optimizer"])
        init = state.make_init(train.build_method(config), optimizer, len(source))
        ts, _ = state.abstract_state(
            init, jax.random.key(0), shapes, mesh, config["sharding_rules"]
        )
    lines = ["config:", json.dumps(config, indent=2), "", "batches (of this host):"]
    lines += [f"  {key}: {format_shapes(batch)}" for key, batch in batches.items()]
    lines += ["", f"training examples: {len(source)} ({source.name}: {coverage(source)})"]
    lines += [
        "parameters:",
        *(f"  {name}: {num_parameters(part):,}" for name, part in ts.params.items()),
    ]
    lines += [
        f"  all: {num_parameters(ts.params):,}",
        f"state, not trained: {num_parameters(ts.state):,}",
        "",
    ]
    for name, macs in encoder_gmacs(config, shapes):
        lines.append(f"encoder of {name}: {macs:.3f} GMACs per example")
    kind = mesh.devices.flat[0].device_kind
    lines.append(f"mesh: {dict(mesh.shape)} of {kind} ({jax.default_backend()})")
    return "\n".join(lines)


def encoder_gmacs(config: dict, batch: dict):
    """Yields (modality, GMACs per example) of the encoders of a method with towers."""
    model = build(config["method"].get("model", {}))
    if config.get("device_transform"):
        batch = jax.eval_shape(build(config["device_transform"]), batch)
    for name, net in getattr(model, "encoders", {}).items():
        x = jax.ShapeDtypeStruct((1, *batch[name].shape[1:]), batch[name].dtype)
        front = functools.partial(model.frontends[name].init_with_output, train=False)
        x, _ = jax.eval_shape(front, jax.random.key(0), x)
        yield name, gmacs(net, x.shape, x.dtype)


def num_parameters(tree) -> int:
    """Returns the number of scalars in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
