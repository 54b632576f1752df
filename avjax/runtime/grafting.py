"""Replaces a part of a state by that of another one."""

import os

import jax

from avjax.types import Tree


def graft(
    tree: Tree, other: dict, target_path: str, source_path: str, source: str | os.PathLike
) -> Tree:
    """Returns `tree` with `target_path` replaced by the subtree of `other` at `source_path`.

    Args:
      tree, other: arrays, or shapes; a TrainState or nested dicts.
      target_path, source_path: paths such as "params/encoders_video".
      source: the name of `other` in messages.

    Raises:
      ValueError: a path does not exist, or shapes differ.
    """
    name = f"{source}: {source_path}"
    for key in source_path.split("/"):
        if not isinstance(other, dict) or key not in other:
            raise ValueError(f"{name}: no {key!r}; available: {_format_keys(other)}")
        other = other[key]
    return _replace(tree, other, target_path.split("/"), name)


def _replace(tree, other, keys, name):
    if not keys:
        return _merge(tree, other, name)
    head, *rest = keys
    fields = dict(tree.__dict__) if hasattr(tree, "replace") else tree
    if not isinstance(fields, dict) or head not in fields:
        raise ValueError(f"{name}: the model has no {head!r}; available: {_format_keys(fields)}")
    fields = {**fields, head: _replace(fields[head], other, rest, name)}
    return tree.replace(**fields) if hasattr(tree, "replace") else fields


def _merge(target, restored, name):
    """Returns `restored` with the shardings of `target`; the trees must be alike."""
    if not isinstance(target, dict) or not isinstance(restored, dict):
        return jax.tree.map(lambda x, y: _cast_like(x, y, name), target, restored)
    if invalid := sorted(target.keys() ^ restored.keys()):
        details = "; ".join(
            f"{k!r} is only {'here' if k in target else 'there'}" for k in invalid[:8]
        )
        raise ValueError(
            f"{name} belongs to another net: {details}; use the same net in config.method.model, "
            "or name the parts to take (paths)"
        )
    return {key: _merge(target[key], restored[key], f"{name}/{key}") for key in target}


def _format_keys(tree):
    return sorted(tree) if isinstance(tree, dict) else "an array"


def _cast_like(target, restored, name):
    if target.shape != restored.shape:
        raise ValueError(f"{name}: shape {restored.shape} there, {target.shape} here")
    if isinstance(target, jax.ShapeDtypeStruct):
        return target
    if name.endswith("/size") and int(restored) != int(target):  # Of a memory.
        raise ValueError(
            f"{name}: a memory of {int(restored)} records there, of {int(target)} here"
        )
    return jax.device_put(restored.astype(target.dtype), target.sharding)
