"""The sources of a run's data sets: each built once, however many data sets read it."""

import contextlib
import json

from avjax.config.build import build
from avjax.data import fingerprint
from avjax.data.source import NoRecords, Source


def built(config: dict) -> tuple[dict, dict[str, tuple[str, Source]]]:
    """(`config` with the source of each data set built, {source's spec: (key, the source)}).

    A data set is what has a source and a clip_sampler.  The spec is JSON; the key is of the first
    data set that has it, e.g. "config.data.train.source".  A source without records stays a spec:
    who builds the data set decides what that means.
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


def check(workdir, sources: dict, allow_changed: bool) -> tuple[dict, list[str]]:
    """(the fingerprints of `sources`, what changed since the run in `workdir` began).

    sources: as `built` returns them.  Raises ValueError where data changed, unless that is
    allowed.  Nothing is written.
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
