"""The parts of a run, each built once from its config."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import optax

from avjax.config import ranges
from avjax.config.build import build as build_part
from avjax.config.trust import check_names
from avjax.data.source import NoRecords, Source
from avjax.training import config_checks, settings as settings_, sources as sources_
from avjax.types import Evaluator, Method


class Experiment(NamedTuple):
    """The parts of a run.  Check, cost, training and evaluation take them from here.

    Attributes:
      config: the plain config; it is written to the folder of the run.
      settings: its numbers, such as settings.batch_size.
      method: the method; config.device_transform is applied to each of its batches first.
      method_args: the arguments that the method was made with, e.g. "model" and "negatives".
      device_transform: batch -> batch, or None.
      optimizer: the optimizer.
      data: {key: data set}, e.g. "data.train"; see `sources.DataSets`.
      evals: {name: (every, evaluator)}; every 0: before the first step and after the last.
      sharding_rules: see `sharding.shardings_from_rules`.
      sources: {spec of a source as JSON: (key, Source)}, see `sources.DataSets`.
    """

    config: dict
    settings: settings_.Settings
    method: Method
    method_args: dict[str, Any]
    device_transform: Callable | None
    optimizer: optax.GradientTransformation
    data: dict[str, dict[str, Any]]
    evals: dict[str, tuple[int, Evaluator]]
    sharding_rules: tuple
    sources: dict[str, tuple[str, Source]]


def build(config: dict, opened: dict[str, Source] | None = None) -> Experiment:
    """Builds the parts of a run.

    Args:
      config: a plain dict, as in `configs/`.
      opened: see `sources.build_datasets`.

    Raises:
      ValueError, FileNotFoundError: a part cannot be built; the message starts with its key.
    """
    settings = settings_.from_config(config)
    method, args = build_method(config)
    transform = build_part(config.get("device_transform"), "config.device_transform")
    optimizer = build_optimizer(config)
    found = sources_.build_datasets(config, opened)
    data, evals = found.data, {}
    for name, spec in found.evals.items():
        try:
            evals[name] = build_evaluator(name, spec)
        except NoRecords as error:
            sources_.warn_left_out(name, error)
            data = {key: one for key, one in data.items() if not key.startswith(f"evals.{name}.")}
    rules = config["sharding_rules"]
    return Experiment(
        config, settings, with_device_transform(method, transform), args, transform, optimizer,
        data, evals, rules, found.sources,
    )  # fmt: skip


def build_method(config: dict, trust: Sequence[str] | None = None) -> tuple[Method, dict[str, Any]]:
    """Returns (config.method without a device transform, the arguments that it was made with).

    Args:
      config: of the run.
      trust: see `config.build`; required for a config that was read from the folder of a run.

    Raises:
      ValueError: it cannot be built, or is no Method.
    """
    spec = config["method"]
    if trust is not None:
        check_names(spec, "config.method", trust)  # Before the first part is imported.
    args = {name: build_part(part, f"config.method.{name}", trust) for name, part in spec.items()}
    method = build_part(args, "config.method", trust)
    if not isinstance(method, Method):
        raise ValueError(f"config.method: {spec.get('fn')} does not return an avjax.types.Method")
    return method, {name: part for name, part in args.items() if name != "fn"}


def build_optimizer(config: dict) -> optax.GradientTransformation:
    """Returns config.optimizer; ValueError if it cannot be built, or is none."""
    spec = config["optimizer"]
    config_checks.check_warmup(spec)
    optimizer = build_part(spec, "config.optimizer")
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(f"config.optimizer: {spec.get('fn')} does not return an optax optimizer")
    return optimizer


def build_evaluator(name: str, spec: dict) -> tuple[int, Evaluator]:
    """Returns (every, evaluator) of one of config.evals, whose data sets may be built.

    Raises:
      NoRecords: a split has no records.
      ValueError: it cannot be built; the message starts with its key.
    """
    key, spec = f"config.evals.{name}", dict(spec)
    every = spec.pop("every", 0)
    ranges.check_integer(f"{key}.every", every, 0)
    evaluator = build_part(spec, key)
    if not callable(evaluator):
        raise ValueError(f"{key}: {spec.get('fn')} does not return an evaluator")
    return every, cast(Evaluator, evaluator)


def with_device_transform(method: Method, transform: Callable | None) -> Method:
    """Returns `method` with `transform`, batch -> batch, applied to each of its batches first."""
    if transform is None:
        return method
    extract = method.extract
    return method._replace(
        init=lambda rng, batch, size: method.init(rng, transform(batch), size),
        loss=lambda params, state, batch, rng: method.loss(params, state, transform(batch), rng),
        embed=lambda params, state, batch: method.embed(params, state, transform(batch)),
        extract=extract and (lambda params, state, batch: extract(params, state, transform(batch))),
    )


def training_data(experiment: Experiment) -> dict[str, Any]:
    """Returns the arguments of `pipeline.train_batches`, those of the run and method included."""
    return experiment.data["data.train"] | dict(
        batch_size=experiment.settings.batch_size,
        seed=experiment.settings.seed,
        needs_audio=experiment.method.needs_audio,
    )
