"""What a run is going to do: its datasets tried, its parameters counted, before the first step."""

import functools
import json
import math

import jax

from avjax import partners, sharding, state, train
from avjax.build import build
from avjax.data import pipeline
from avjax.data.source import NoRecords, found, notes_of
from avjax.nets.macs import gmacs


def check(config: dict) -> dict:
    """One batch of every dataset in `config`, by its key; NumPy, this host's slice.

    Raises what the dataset raises, with the config key in front.  An evaluation whose split has
    no records has no batch.
    """
    devices = jax.device_count()
    if config["batch_size"] % devices:
        raise ValueError(
            f"config.batch_size={config['batch_size']} is no multiple of the {devices} devices"
        )
    train.made(config)
    batches, sources = {}, []
    for key, spec in datasets(config):
        try:
            data = build(spec)
            sources.append(data["source"])
            if key == "data.train":
                check_negatives(config, data["view"].count)
                stream = pipeline.train(
                    **data, batch_size=config["batch_size"], seed=config["seed"], stop=1
                )
            else:
                stream = pipeline.evaluate(**data, batch_size=devices * data["view"].count)
            batches[key] = next(stream)
            stream.close()
        except NoRecords as error:
            if not key.startswith("evals."):  # train.evaluators leaves such an evaluation out.
                raise NoRecords(f"config.{key}: {error}") from error
        except (ValueError, OSError, TypeError) as error:
            raise type(error)(f"config.{key}: {error}") from error
    if jax.process_index() == 0:
        for note in notes_of(sources):
            print(note, flush=True)
    return batches


def check_negatives(config: dict, clips: int) -> None:
    """Raises where negatives come from the batch, and `clips` of one record fill it."""
    negatives = build(config["method"].get("negatives"))
    if getattr(negatives, "pair", None):
        partners.check_others(config["batch_size"], clips)


def datasets(spec, key=""):
    """(key, spec) of each dataset in a config: what has a source and a view."""
    if isinstance(spec, dict):
        if {"source", "view"} <= spec.keys():
            yield key, spec
        else:
            for name, part in spec.items():
                yield from datasets(part, f"{key}.{name}" if key else name)


def describe(config: dict, batches: dict) -> str:
    """The plan of a run, for a person: config, batches, parameters, devices."""
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        method = train.made(config)
        source = build(config["data"]["train"]["source"])
        size = len(source)
        shapes = {
            k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in batches["data.train"].items()
        }
        init = state.initializer(method, build(config["optimizer"]), size)
        ts, _ = state.abstract(init, jax.random.key(0), shapes, mesh, config["sharding"])
    lines = ["config:", json.dumps(config, indent=2), "", "batches (of this host):"]
    for key, batch in batches.items():
        arrays = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in batch.items())
        lines.append(f"  {key}: {arrays}")
    lines += ["", f"training examples: {size} ({source.name}: {found(source)})", "parameters:"]
    lines += [f"  {name}: {count(part):,}" for name, part in ts.params.items()]
    lines += [f"  all: {count(ts.params):,}", f"state, not trained: {count(ts.state):,}", ""]
    for name, macs in encoders(config, shapes):
        lines.append(f"encoder of {name}: {macs:.3f} GMACs an example")
    kind = mesh.devices.flat[0].device_kind
    lines.append(f"mesh: {dict(mesh.shape)} of {kind} ({jax.default_backend()})")
    return "\n".join(lines)


def encoders(config: dict, batch: dict):
    """Yields (modality, GMACs of an example) for the encoders of a method that has towers."""
    model = build(config["method"].get("model", {}))
    if "on_device" in config:
        batch = jax.eval_shape(build(config["on_device"]), batch)
    for name, net in getattr(model, "encoders", {}).items():
        x = jax.ShapeDtypeStruct((1, *batch[name].shape[1:]), batch[name].dtype)
        front = functools.partial(model.fronts[name].init_with_output, train=False)
        x, _ = jax.eval_shape(front, jax.random.key(0), x)
        yield name, gmacs(net, x.shape, x.dtype)


def count(tree) -> int:
    """The number of scalars in a tree."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
