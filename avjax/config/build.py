"""Turns a config into objects: `dict(fn="optax.adam", b1=0.9)` -> `optax.adam(b1=0.9)`."""

import inspect
import types
from collections.abc import Mapping
from typing import Any

import ml_collections

from avjax.config import signatures


def build(spec: Any, key: str = "") -> Any:
    """Builds `spec` and, first, every spec within it.

    There is no registry: `fn` is an importable dotted name.

    Args:
      spec: a mapping with the key `fn`: the dotted name of a callable, or of a module with a
        function `make`.  The other keys are its keyword arguments, the key `args` holds
        positional ones.  Anything else is returned unchanged, with its parts built.
      key: the dotted key of `spec` in the config, for messages, e.g. "config.method".

    Returns:
      The object.

    Raises:
      ValueError: a name cannot be imported, or arguments are wrong; the message has the key.
      TypeError: `spec` is a ConfigDict.

    Example:
      build({"fn": "optax.adam", "learning_rate": 1e-3})
    """
    if isinstance(spec, ml_collections.ConfigDict):
        raise TypeError("build requires a plain dict: pass config.to_dict()")
    if isinstance(spec, Mapping):
        parts = {name: build(part, f"{key}.{name}".lstrip(".")) for name, part in spec.items()}
        if "fn" not in parts:
            return parts
        return _call(parts.pop("fn"), parts.pop("args", ()), parts, key)
    # A named tuple is a part that is built already.
    if isinstance(spec, (list, tuple)) and not hasattr(spec, "_fields"):
        return type(spec)(build(part, f"{key}.{i}".lstrip(".")) for i, part in enumerate(spec))
    return spec


def _call(name, args, parts, key):
    """Calls `name` with its arguments and returns the result."""
    try:
        fn = signatures.resolve(name)
        fn = fn.make if isinstance(fn, types.ModuleType) and hasattr(fn, "make") else fn
        if not callable(fn):
            raise ValueError(f"fn={name!r} is a {type(fn).__name__}: name a function or a class")
        if not isinstance(args, list | tuple):
            raise ValueError(f"args={args!r} of {name}: give a list")
        if invalid := _mismatch(fn, args, parts, key):
            raise ValueError(f"{name} {invalid}")
    except ValueError as error:
        raise ValueError(_with_key(key, error)) from error
    try:
        return fn(*args, **parts)
    except (ValueError, OSError) as error:
        raise _same_type(error, _with_key(key, error)) from error
    except Exception as error:
        text = f"{name}: {type(error).__name__}: {error}"
        raise ValueError(_with_key(key, text)) from error


def _same_type(error, text):
    """Returns an error of the type of `error` with another text, if its type allows that."""
    try:
        return type(error)(text)
    except TypeError:
        return ValueError(text)


def _with_key(key, text):
    """Returns a message with the key in front, unless it begins with one."""
    return f"{key}: {text}" if key and not str(text).startswith("config.") else str(text)


def _mismatch(fn, args, parts, key) -> str:
    """Returns what is wrong with the arguments of `fn` as text; "" if they fit or it is unknown."""
    try:
        given = inspect.signature(fn)
    except (TypeError, ValueError):  # Some C functions have no signature.
        return ""
    try:
        given.bind(*args, **parts)
        return ""
    except TypeError as error:
        reason = str(error)
    known = {name for name, p in given.parameters.items() if p.kind is not p.VAR_POSITIONAL}
    unknown = [] if _accepts_any(given) else sorted(parts.keys() - known)
    if unknown:
        near = signatures.did_you_mean(unknown[0], known)
        return (
            f"takes no argument {', '.join(unknown)}{near} (it takes {', '.join(given.parameters)})"
        )
    bound = given.bind_partial(*args, **parts).arguments if not unknown else {}
    missing = [n for n, p in given.parameters.items()
               if n not in bound and p.default is p.empty and p.kind < p.VAR_KEYWORD
               and p.kind is not p.VAR_POSITIONAL]  # fmt: skip
    keys = " and ".join(f"{key}.{name}".lstrip(".") for name in missing)
    return f"needs {', '.join(missing)}: set {keys}" if missing else reason


def _accepts_any(given):
    return any(p.kind is p.VAR_KEYWORD for p in given.parameters.values())


def substitute(tree: Any, workdir: str) -> Any:
    """Returns `tree` with "{workdir}" replaced in strings and references by their values.

    ml_collections itself does not resolve references within lists.

    Args:
      tree: nested dicts and lists.
      workdir: the folder of the run.
    """
    if isinstance(tree, ml_collections.FieldReference):
        tree = tree.get()
    if isinstance(tree, dict):
        return {k: substitute(v, workdir) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(substitute(v, workdir) for v in tree)
    return tree.replace("{workdir}", workdir) if isinstance(tree, str) else tree
