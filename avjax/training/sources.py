"""The sources of a run's data sets: each is built once, even if several data sets read it."""

import contextlib
import json

from avjax.config.build import build
from avjax.data import fingerprint
from avjax.data.source import NoRecords, Source


def build_sources(config: dict) -> tuple[dict, dict[str, tuple[str, Source]]]:
    """Builds the source of each data set in a config.

    A data set is a part with a source and a clip_sampler.  A source without records stays a spec:
    the caller that builds the data set handles it.

    Returns:
      (`config` with built sources, {spec of a source as JSON: (key, Source)}), with the key of the
      first data set that has it, e.g. "config.data.train.source".
    """
    found = {}

    def filled(spec, key):
        if isinstance(spec, dict):
            spec = {name: filled(part, f"{key}.{name}") for name, part in spec.items()}
            if {"source", "clip_sampler"} <= spec.keys() and isinstance(spec["source"], dict):
                name = json.dumps(spec["source"], sort_keys=True)
                with contextlib.suppress(NoRecords):
                    if name not in found:
                        found[name] = f"{key}.source", build(spec["source"])
                    spec["source"] = found[name][1]
        elif isinstance(spec, list | tuple):
            spec = type(spec)(filled(part, f"{key}.{i}") for i, part in enumerate(spec))
        return spec

    return filled(config, "config"), found


def check_unchanged(workdir, sources: dict, allow_changed: bool) -> tuple[dict, list[str]]:
    """Compares the data with those that the run in `workdir` started with; writes nothing.

    Args:
      workdir: the folder of the run.
      sources: as `build_sources` returns them.
      allow_changed: whether changes are allowed.

    Returns:
      (fingerprints of `sources`, list of changes).

    Raises:
      ValueError: the data changed and `allow_changed` is False.
    """
    prints = {spec: fingerprint.compute(source) for spec, (_, source) in sources.items()}
    names = {spec: key for spec, (key, _) in sources.items()}
    changes = fingerprint.describe_changes(fingerprint.read(workdir), prints, names)
    if changes and not allow_changed:
        raise ValueError(
            f"the data of the run in {workdir} have changed: {'; '.join(changes)}: restore them, "
            "choose another --workdir, or accept the change with --allow_changed_data"
        )
    return prints, changes
