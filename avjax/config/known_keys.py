"""The keys that avjax reads in a config where no function names them."""

from collections.abc import Mapping

from avjax.config import arguments, signatures
from avjax.config.signatures import ANY, Argument

PART = Argument(False, ("dict", "None"))
# Optional keys of a config.
OPTIONAL = {
    "init_from": ANY, "device_transform": PART, "stages": PART,
    "profile": Argument(False, ("bool",)), "watchdog": Argument(False, ("float",)),
    "max_nonfinite_steps": Argument(False, ("int",)), "fsdp": Argument(False, ("int",)),
    "async_checkpointing": Argument(False, ("bool",)),
}  # fmt: skip
INIT_FROM = {"folder": Argument(True, ("str",)), "paths": ANY}
# Arguments of a pipeline that the loop gives.
SET_BY_LOOP = (
    "batch_size", "seed", "start", "stop", "shard", "needs_audio", "on_error", "on_skipped",
    "clip_list", "rows_only",
)  # fmt: skip


def dataset_arguments(training: bool) -> dict[str, Argument]:
    """Returns {key: Argument} of a data set, config.data.train or one of an evaluation."""
    takes = signatures.arguments(
        f"avjax.data.pipeline.{'train_batches' if training else 'eval_batches'}"
    )
    takes = {key: value for key, value in takes.items() if key not in SET_BY_LOOP}
    return takes | {"max_unreadable": Argument(False, ("float",))}


def check(config: Mapping) -> None:
    """Raises ValueError for an unknown key of a data set or of init_from; with its dotted key.

    Other keys of a config may be read by references, so that they are unknown only if they
    resemble an optional key.
    """
    for key in config:
        if key not in OPTIONAL and (near := signatures.did_you_mean(key, OPTIONAL, 0.8)):
            raise ValueError(f"config.{key}: no such key{near}")
    start = config.get("init_from")
    for i, part in enumerate(start if isinstance(start, list | tuple) else [start]):
        if isinstance(part, Mapping):
            path = "config.init_from" + (f".{i}" if part is not start else "")
            _check_keys(part, path, INIT_FROM, "init_from")
    _check_datasets(config, "config")


def _check_datasets(spec, path):
    if not isinstance(spec, Mapping):
        return
    if {"source", "clip_sampler"} <= spec.keys() and "fn" not in spec:
        takes = dataset_arguments(training=path.endswith("data.train"))
        _check_keys(spec, path, takes, "a data set")
        if "transforms" not in spec and path != "config.data.refresh":
            raise ValueError(f"{path}.transforms is missing: give a list of transforms, or ()")
    else:
        for name, part in spec.items():
            _check_datasets(part, f"{path}.{name}")


def _check_keys(spec: Mapping, path: str, takes: dict[str, Argument], name: str) -> None:
    for key, value in spec.items():
        if key not in takes:
            raise ValueError(arguments.unknown_argument(path, key, name, list(takes)))
        is_part = isinstance(value, Mapping) and ("fn" in value or "ref" in value)
        if not is_part and not (value is None and not takes[key].required):
            arguments.check_type(f"{path}.{key}", value, takes[key].types)
