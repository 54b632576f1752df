"""Turns a config into objects: `dict(fn="optax.adam", b1=0.9)` -> `optax.adam(b1=0.9)`."""

import inspect
import types
from collections.abc import Mapping

import ml_collections

from avjax.config import signatures


def build(spec, key: str = ""):
    """Builds `spec` and, first, every spec within it.

    A spec is a mapping with a key `fn`: the dotted name of a callable, or of a module with
    a function `make`; its key `args`, if any, holds what is passed by position.  Anything
    else is returned as it is, its parts built.  There is no registry: a name is what one
    would write in an import.

    Args:
      key: the dotted key of `spec` in the config, for messages, e.g. "config.method".

    Raises:
      ValueError: where a name cannot be imported, or what it names refuses its arguments.
    """
    if isinstance(spec, ml_collections.ConfigDict):
        raise TypeError("build wants a plain dict: pass config.to_dict()")
    if isinstance(spec, Mapping):
        parts = {name: build(part, f"{key}.{name}".lstrip(".")) for name, part in spec.items()}
        if "fn" not in parts:
            return parts
        return _called(parts.pop("fn"), parts.pop("args", ()), parts, key)
    if isinstance(spec, (list, tuple)):
        return type(spec)(build(part, f"{key}.{i}".lstrip(".")) for i, part in enumerate(spec))
    return spec


def _called(name, args, parts, key):
    """What the callable `name` makes of its arguments."""
    try:
        fn = signatures.resolve(name)
        fn = fn.make if isinstance(fn, types.ModuleType) and hasattr(fn, "make") else fn
        if not callable(fn):
            raise ValueError(f"fn={name!r} is a {type(fn).__name__}: name a function or a class")
        if not isinstance(args, list | tuple):
            raise ValueError(f"args={args!r} of {name}: give a list")
        if odd := _mismatch(fn, args, parts, key):
            raise ValueError(f"{name} {odd}")
    except ValueError as error:
        raise ValueError(_prefixed(key, error)) from error
    try:
        return fn(*args, **parts)
    except (ValueError, OSError) as error:
        raise _same(error, _prefixed(key, error)) from error
    except Exception as error:
        said = f"{name}: {type(error).__name__}: {error}"
        raise ValueError(_prefixed(key, said)) from error


def _same(error, text):
    """An error of the type of `error`, if that takes a text alone."""
    try:
        return type(error)(text)
    except TypeError:
        return ValueError(text)


def _prefixed(key, text):
    """A message with the key in front, unless it begins with one."""
    return f"{key}: {text}" if key and not str(text).startswith("config.") else str(text)


def _mismatch(fn, args, parts, key) -> str:
    """What is missing in the arguments of `fn`, or is too much; "" if they fit or it is unknown."""
    try:
        given = inspect.signature(fn)
    except (TypeError, ValueError):  # Some functions written in C do not say.
        return ""
    try:
        given.bind(*args, **parts)
        return ""
    except TypeError as error:
        reason = str(error)
    known = {name for name, p in given.parameters.items() if p.kind is not p.VAR_POSITIONAL}
    unknown = [] if _takes_any(given) else sorted(parts.keys() - known)
    if unknown:
        near = signatures.nearest(unknown[0], known)
        return (
            f"takes no argument {', '.join(unknown)}{near} (it takes {', '.join(given.parameters)})"
        )
    bound = given.bind_partial(*args, **parts).arguments if not unknown else {}
    missing = [n for n, p in given.parameters.items()
               if n not in bound and p.default is p.empty and p.kind < p.VAR_KEYWORD
               and p.kind is not p.VAR_POSITIONAL]  # fmt: skip
    keys = " and ".join(f"{key}.{name}".lstrip(".") for name in missing)
    return f"needs {', '.join(missing)}: set {keys}" if missing else reason


def _takes_any(given):
    return any(p.kind is p.VAR_KEYWORD for p in given.parameters.values())


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
