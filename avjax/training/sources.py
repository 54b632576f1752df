"""The data sets of a config: each is built once, and equal sources are opened once."""

import copy
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from avjax.config.build import build
from avjax.data import fingerprint
from avjax.data.clip_sampling import ClipSampler
from avjax.data.source import NoRecords, Source
from avjax.runtime import side_files


class DataSets(NamedTuple):
    """The data sets of a config.

    Attributes:
      data: {key: data set}, e.g. "data.train", "evals.kinetics.test"; a data set is {"source":
        Source, "clip_sampler": ClipSampler, "transforms": functions, ...}.
      evals: config.evals with built data sets in place of their specs, without the evaluations
        whose split has no records.
      sources: {spec of a source as JSON: (key, Source)}, with the key of the first data set that
        has it, e.g. "config.data.train.source".
    """

    data: dict[str, dict[str, Any]]
    evals: dict[str, Any]
    sources: dict[str, tuple[str, Source]]


def find_datasets(spec: Any, key: str = "") -> Iterator[tuple[str, dict]]:
    """Yields (key, spec) of each data set in a config: a part with a source and a clip_sampler.

    Args:
      spec: a config, or a part of it.
      key: the dotted key of `spec`.

    Raises:
      ValueError: a part has a source and no clip_sampler.
    """
    if isinstance(spec, dict):
        if {"source", "clip_sampler"} <= spec.keys():
            yield key, spec
        elif isinstance(spec.get("source"), dict) and "fn" not in spec:
            raise ValueError(
                f"config.{key}.clip_sampler is missing: data sets need one, see "
                "avjax.data.clip_sampling"
            )
        else:
            for name, part in spec.items():
                yield from find_datasets(part, f"{key}.{name}" if key else name)


def build_datasets(config: dict, opened: dict[str, Source] | None = None) -> DataSets:
    """Builds the data sets of a config.

    An evaluation whose split has no records is left out with a warning.

    Args:
      config: a plain dict, as in `configs/`.
      opened: {spec of a source as JSON: Source} of the sources that are open already; new ones are
        added.  The stages of a chain share it.

    Raises:
      ValueError, FileNotFoundError: a part cannot be built; the message starts with its key.
      NoRecords: a data set for training has no records.
    """
    filled, opened = copy.deepcopy(config), {} if opened is None else opened
    data, sources, empty = {}, {}, {}
    for key, spec in find_datasets(config):
        try:
            source = open_source(spec["source"], f"config.{key}.source", opened)
        except NoRecords as error:
            if not key.startswith("evals."):
                raise
            empty[key.split(".")[1]] = error
            continue
        if isinstance(spec["source"], dict):
            name = json.dumps(spec["source"], sort_keys=True)
            sources.setdefault(name, (f"config.{key}.source", source))
        data[key] = _check_parts(key, build({**spec, "source": source}, f"config.{key}"))
        _replace(filled, key, data[key])
    for name, error in empty.items():
        warn_left_out(name, error)
    data = {k: v for k, v in data.items() if k.split(".")[:2] not in [["evals", n] for n in empty]}
    evals = {name: spec for name, spec in filled.get("evals", {}).items() if name not in empty}
    return DataSets(data, evals, sources)


def warn_left_out(name: str, error: NoRecords) -> None:
    """Logs that the evaluation `name` is left out, as a split of it has no records."""
    logging.getLogger(__name__).warning("evaluation %s left out: %s", name, error)


def open_source(
    spec: Any, key: str, opened: dict[str, Source], trust: Sequence[str] | None = None
) -> Any:
    """Builds a source, and the source that it reads from, unless an equal one is in `opened`.

    Args:
      spec: of the source; anything but a dict is returned unchanged.
      key: its dotted key, for messages.
      opened: {spec as JSON: Source}; new ones are added.
      trust: see `config.build`.
    """
    if not isinstance(spec, dict):
        return spec
    name = json.dumps(spec, sort_keys=True)
    if name not in opened:
        inner = open_source(spec.get("source"), f"{key}.source", opened, trust)
        opened[name] = build({**spec, "source": inner} if "source" in spec else spec, key, trust)
    return opened[name]


def _check_parts(key: str, data: dict) -> dict:
    """Returns a data set; ValueError if a part of it is of another type."""
    if not isinstance(data["source"], Source) or not isinstance(data["clip_sampler"], ClipSampler):
        raise ValueError(
            f"config.{key}: source must return an avjax.data Source, clip_sampler one of "
            "avjax.data.clip_sampling"
        )
    return data


def _replace(tree: dict, key: str, value: Any) -> None:
    """Replaces the value at a dotted key."""
    *path, last = key.split(".")
    for name in path:
        tree = tree[name]
    tree[last] = value


def prepare(data: dict[str, dict[str, Any]]) -> None:
    """Calls `prepare` of each source that has one, see `Source`, once.

    Args:
      data: {key: data set}, as of `DataSets`.
    """
    for source in {id(one["source"]): one["source"] for one in data.values()}.values():
        if source.prepare:
            source.prepare()


def check_unchanged(
    workdir, sources: dict[str, tuple[str, Source]], allow_changed: bool
) -> tuple[dict, list[str]]:
    """Compares the data with those that the run in `workdir` started with; writes nothing.

    Args:
      workdir: the folder of the run.
      sources: {spec of a source as JSON: (key, Source)}.
      allow_changed: whether changes are allowed.

    Returns:
      (fingerprints of `sources`, list of changes, [] if those of the run are damaged).

    Raises:
      ValueError: the data changed and `allow_changed` is False.
    """
    fingerprints = {
        spec: fingerprint.compute(source) | {"key": key} for spec, (key, source) in sources.items()
    }
    names = {spec: key for spec, (key, _) in sources.items()}
    try:
        before = fingerprint.read(workdir)
    except side_files.Damaged:  # Logged and kept by `fingerprint.write`.
        before = {}
    changes = fingerprint.describe_changes(before, fingerprints, names)
    if changes and not allow_changed:
        raise ValueError(
            f"the data of the run in {workdir} have changed: {'; '.join(changes)}: restore them, "
            "choose another --workdir, or accept the change with --allow_changed_data"
        )
    return fingerprints, changes
