"""Turns a config into objects: `dict(fn="optax.adam", b1=0.9)` -> `optax.adam(b1=0.9)`."""

import pkgutil
import types
from collections.abc import Mapping

import ml_collections


def build(spec):
    """Builds `spec` and, first, every spec within it.

    A spec is a mapping with a key `fn`: the dotted name of a callable, or of a module with
    a function `make`; its key `args`, if any, holds what is passed by position.  Anything
    else is returned as it is, its parts built.  There is no registry: a name is what one
    would write in an import.
    """
    if isinstance(spec, ml_collections.ConfigDict):
        raise TypeError("build wants a plain dict: pass config.to_dict()")
    if isinstance(spec, Mapping):
        parts = {name: build(part) for name, part in spec.items()}
        if "fn" not in parts:
            return parts
        name, args = parts.pop("fn"), parts.pop("args", ())
        try:
            fn = pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"fn={name!r} in the config names nothing: {error}") from error
        try:
            return (fn.make if isinstance(fn, types.ModuleType) else fn)(*args, **parts)
        except TypeError as error:
            raise TypeError(f"{name} with {sorted(parts)}: {error}") from error
    if isinstance(spec, (list, tuple)):
        return type(spec)(build(part) for part in spec)
    return spec


def filled(tree, workdir: str):
    """`tree` with "{workdir}" in its strings replaced, and each reference by what it refers to.

    ml_collections resolves references itself, but not those within lists.
    """
    if isinstance(tree, ml_collections.FieldReference):
        tree = tree.get()
    if isinstance(tree, dict):
        return {k: filled(v, workdir) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(filled(v, workdir) for v in tree)
    return tree.replace("{workdir}", workdir) if isinstance(tree, str) else tree
