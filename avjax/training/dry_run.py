"""Checks an experiment (one batch per data set) and summarizes the run.

One batch of every data set is read; initialization, one training step and the embedding of each
evaluation's batch are traced for their shapes.  Nothing is compiled.
"""

import contextlib
import functools
import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from avjax.config import app, errors
from avjax.data import clip_list, example, pipeline
from avjax.data.source import Source, coverage, unique_notes
from avjax.losses import pairs
from avjax.nets.flops import gmacs
from avjax.runtime import sharding
from avjax.training import init_examples, init_from, refresh, settings, state, step
from avjax.training.experiment import Experiment, training_data
from avjax.types import TrainState


class Check(NamedTuple):
    """What a check finds out, as shapes.

    Attributes:
      batches: {key of a data set: its global batch}.
      state: the TrainState.
    """

    batches: dict[str, dict[str, jax.ShapeDtypeStruct]]
    state: TrainState


def validate(
    experiment: Experiment,
    folder: str = "",
    earlier: dict[str, init_from.SourceRun] | None = None,
) -> Check:
    """Reads one batch per data set and traces everything.

    Args:
      experiment: the parts of the run.
      folder: the folder of the run.
      earlier: {folder: init_from.SourceRun} of the earlier runs of a chain, which need not exist
        yet; this run is added.

    Returns:
      The shapes of batches and state.

    Raises:
      ValueError: something in the config does not work; the message starts with its key.
    """
    settings.check_learning_rates(experiment.config["optimizer"], experiment.settings.steps)
    mesh = sharding.mesh(fsdp=experiment.settings.fsdp)
    with jax.set_mesh(mesh), errors.complete_keys(experiment.config):
        batches = {key: global_shapes(first_batch(experiment, key)) for key in experiment.data}
        if jax.process_index() == 0:
            sources = [data["source"] for data in experiment.data.values()]
            print("".join(f"{note}\n" for note in unique_notes(sources)), end="", flush=True)
        ts = trace_run(experiment, batches, mesh, earlier)
    if earlier is not None:
        tree, source = {"params": ts.params, "state": ts.state}, training_source(experiment)
        earlier[folder] = init_from.SourceRun(tree, functools.partial(init_from.records_of, source))
    return Check(batches, ts)


def training_source(experiment: Experiment):
    """Returns the Source of the training data."""
    return experiment.data["data.train"]["source"]


def first_batch(experiment: Experiment, key: str) -> dict[str, Any]:
    """Returns this host's slice of one batch of the data set `key`, e.g. "data.train"."""
    data, shard = experiment.data[key], (jax.process_index(), jax.process_count())
    with error_prefix(key):
        settings.check_clip_lengths(data["source"], data["clip_sampler"])
        if key == "data.train":
            args, count = experiment.method_args, data["clip_sampler"].num_clips
            if args.get("num_clips", 1) not in (1, count):
                raise ValueError(
                    f"config.method.num_clips={args['num_clips']}, but the clip_sampler has "
                    f"num_clips={count}"
                )
            check_negatives(args, experiment.settings.batch_size, count)
            check_labels(args, data["source"])
            size = experiment.settings.batch_size
            stream = pipeline.train_batches(**training_data(experiment), shard=shard, stop=1)
        else:
            data = {name: value for name, value in data.items() if name != "max_unreadable"}
            if data["clip_sampler"].varies:  # To count the clips of all files takes long.
                data["clip_sampler"] = clip_list.single_clip(data["clip_sampler"], 0)
            size = jax.device_count() * data["clip_sampler"].num_clips
            stream = pipeline.eval_batches(**data, batch_size=size, shard=shard)
        if data["source"].prepare:  # Its records cannot be read yet.
            return example.padding_batch(data, size // shard[1])
        with contextlib.closing(stream):
            return next(stream)


def check_negatives(method_args: dict[str, Any], batch_size: int, num_clips: int) -> None:
    """Raises ValueError if negatives come from the batch and clips of one record fill it.

    Args:
      method_args: the built arguments of the method.
      batch_size: clips per batch.
      num_clips: clips per record.
    """
    # L3 has pairs and AVTS a curriculum: both compare clips of different records.
    compares_others = {"pairs", "curriculum"} & method_args.keys()
    if getattr(method_args.get("negatives"), "symmetric_loss", None) or compares_others:
        pairs.check_other_records(batch_size, num_clips)


def check_labels(method_args: dict[str, Any], source: Source) -> None:
    """Raises ValueError if a method learns labels that the source does not have.

    Args:
      method_args: the built arguments of the method; "num_classes" if it learns labels.
      source: of the training data.
    """
    if (count := method_args.get("num_classes")) is None:
        return
    highest = max((record.get("label", -1) for record in source.records), default=-1)
    if highest < 0:
        raise ValueError(
            f"config.method learns labels, and {source.name} has none: give a data set with "
            "classes, e.g. a folder of videos per class"
        )
    if highest >= count:
        raise ValueError(
            f"config.method.num_classes={count}, but {source.name} has {highest + 1} classes: use "
            f"--config.method.num_classes={max(highest + 1, len(source.classes))}"
        )


def trace_run(
    experiment: Experiment,
    batches: dict[str, dict[str, jax.ShapeDtypeStruct]],
    mesh: jax.sharding.Mesh,
    earlier: dict[str, init_from.SourceRun] | None,
) -> TrainState:
    """Traces initialization, a step, a refresh and the embedding of each evaluation's batch.

    Returns:
      The shapes of the TrainState.
    """
    method, change, first = experiment.method, experiment.device_transform, batches["data.train"]
    for key, one in batches.items():
        with error_prefix(key, one):
            if "augment" in (jax.eval_shape(change, one) if change else one):
                raise ValueError(
                    "crop and color parameters are sampled but not applied: end transforms in "
                    "avjax.data.transforms.video.apply_on_host, or set config.device_transform"
                )
    with error_prefix("method", first):
        data, min_clips = training_data(experiment), experiment.settings.init_examples
        rows = init_examples.num_batches(data, min_clips) * experiment.settings.batch_size
        clips = sharding.abstract_batch(first, rows, mesh)
        ts, shardings = state.abstract_state(experiment, clips, mesh)
        placed, batch_size = sharding.abstract_tree(ts, shardings), experiment.settings.batch_size
        clips = sharding.abstract_batch(first, batch_size, mesh)
        jax.eval_shape(step.make_step(experiment, shardings, mesh), placed, clips)
    with error_prefix("data.refresh"):
        refresh.make_refresh(experiment, training_data(experiment), mesh, shardings)
    for key, one in batches.items():
        if key.startswith("evals."):
            # As many rows in all: what JAX has traced for one data set serves the others.
            one = sharding.abstract_batch(one, batch_size, mesh)
            with error_prefix(key, one):
                embed = step.make_embed_fn(method.embed)
                jax.eval_shape(embed, placed.params, placed.state, one)
    if start := experiment.config.get("init_from"):
        with error_prefix("init_from"):
            source = training_source(experiment)
            nets = method.inherited_nets
            init_from.validate(ts, start, method.inherits, source, earlier, nets)
    return ts


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


def format_shapes(batch: dict, hosts: int = 1) -> str:
    """Returns the shapes of a batch, or of one host's slice of it, as text."""
    shapes = {k: [v.shape[0] // hosts, *v.shape[1:]] for k, v in batch.items()}
    return ", ".join(f"{k} {v.dtype}{shapes[k]}" for k, v in batch.items())


def summarize(experiment: Experiment, checked: Check) -> str:
    """Returns a summary of a run as text: config, batches, parameters, devices."""
    source, ts, hosts = training_source(experiment), checked.state, jax.process_count()
    lines = ["config:", json.dumps(experiment.config, indent=2), "", "batches (of this host):"]
    lines += [f"  {key}: {format_shapes(one, hosts)}" for key, one in checked.batches.items()]
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
    for name, macs in encoder_gmacs(experiment, checked.batches["data.train"]):
        lines.append(f"encoder of {name}: {macs:.3f} GMACs per example")
    mesh = sharding.mesh(fsdp=experiment.settings.fsdp)
    kind = mesh.devices.flat[0].device_kind
    lines.append(f"mesh: {dict(mesh.shape)} of {kind} ({jax.default_backend()})")
    return "\n".join(lines)


def encoder_gmacs(
    experiment: Experiment, batch: dict[str, jax.ShapeDtypeStruct]
) -> Iterator[tuple[str, float]]:
    """Yields (modality, GMACs per example) of the encoders of a method with towers."""
    model, change = experiment.method_args.get("model"), experiment.device_transform
    frontends = getattr(model, "frontends", {})
    batch = jax.eval_shape(change, batch) if change else batch
    for name, net in getattr(model, "encoders", {}).items():
        one_frame = name == "video" and getattr(model, "first_frame", False)
        shape = (1, 1, *batch[name].shape[2:]) if one_frame else (1, *batch[name].shape[1:])
        x = jax.ShapeDtypeStruct(shape, batch[name].dtype)
        front = functools.partial(frontends[name].init_with_output, train=False)
        x, _ = jax.eval_shape(front, jax.random.key(0), x)
        yield name, gmacs(net, x.shape, x.dtype)


def num_parameters(tree) -> int:
    """Returns the number of scalars in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
