"""Turns a config into objects: `dict(fn="optax.adam", b1=0.9)` -> `optax.adam(b1=0.9)`."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from avjax.config import arguments, signatures, trust as trust_
from avjax.config.errors import with_key


def build(spec: Any, path: str = "config", trust: Sequence[str] | None = None) -> Any:
    """Builds `spec` and, first, every spec within it.

    There is no registry: names are importable dotted names.

    Args:
      spec: one of
        - a mapping with the key `fn`: the dotted name of a callable, or of a module with a
          function `make`.  The other keys are its keyword arguments, the key `args` holds
          positional ones.
        - dict(ref=NAME): the object with this dotted name, such as a function that is not called.
        - anything else, which is returned with its parts built.
      path: the dotted key of `spec` in the config, for messages, e.g. "config.method".
      trust: of a config that was read from the folder of a run: packages that it may name beside
        `trust.PARTS`; other names are refused before anything is imported.  None for a config that
        is a program: it may name anything.

    Returns:
      The object.

    Raises:
      ValueError: a name is refused or cannot be imported, or an argument is unknown, missing or of
        the wrong type, or the callable raised an error; the message starts with the key.
      OSError: raised by the callable, with the key in its message.
      TypeError: `spec` is a ConfigDict.

    Example:
      build({"fn": "optax.adam", "learning_rate": 1e-3})
      build({"ref": "optax.adam"})
    """
    if isinstance(spec, ml_collections.ConfigDict):
        raise TypeError("build requires a plain dict: pass config.to_dict()")
    if trust is not None:
        trust_.check_names(spec, path, trust)
    return _build(spec, path, trust)


def _build(spec, path, trust):
    if isinstance(spec, ml_collections.ConfigDict):
        raise TypeError(f"{path} is a ConfigDict: pass config.to_dict()")
    if isinstance(spec, Mapping):
        if "ref" in spec:
            return _referenced(spec, path, trust)
        parts = {name: _build(part, f"{path}.{name}", trust) for name, part in spec.items()}
        return _call(spec, parts, path, trust) if "fn" in spec else parts
    # A named tuple is a part that is built already.
    if isinstance(spec, list | tuple) and not hasattr(spec, "_fields"):
        return type(spec)(_build(part, f"{path}.{i}", trust) for i, part in enumerate(spec))
    return spec


def _referenced(spec, path, trust):
    """Returns the object that dict(ref=NAME) names."""
    if others := sorted(map(str, spec.keys() - {"ref"})):
        hint = (
            "use fn for the result of a call, ref for the function itself"
            if "fn" in others
            else "ref takes no arguments, use fn for the result of a call"
        )
        raise ValueError(f"{path} has ref and {', '.join(others)}: {hint}")
    try:
        found = signatures.resolve(spec["ref"], "ref")
    except ValueError as error:
        raise ValueError(with_key(path, error, spec)) from error
    if trust is not None:
        trust_.check_object(found, f"{path}.ref", spec["ref"], trust)
    return found


def _call(spec, parts, path, trust):
    """Calls `fn` of a spec with its built parts and returns the result."""
    kwargs = {name: part for name, part in parts.items() if name not in ("fn", "args")}
    name, args = spec["fn"], parts.get("args", ())
    try:
        fn = signatures.resolve_callable(name)
        if trust is not None:
            trust_.check_object(fn, f"{path}.fn", name, trust)
        if not isinstance(args, list | tuple):
            raise ValueError(f"args={args!r}: give a list of positional arguments")
        arguments.check(fn, name, spec, args, kwargs, path)
    except ValueError as error:
        raise ValueError(with_key(path, error, spec)) from error
    try:
        return fn(*args, **kwargs)
    except (ValueError, OSError) as error:
        raise _same_type(error, with_key(path, error, spec)) from error
    except Exception as error:
        text = f"{name}: {type(error).__name__}: {_message(error)}"
        raise ValueError(with_key(path, text)) from error


def _message(error):
    """Returns the message of an error; that of a KeyError without the quotes of its repr."""
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


def _same_type(error, text):
    """Returns an error of the type of `error` with another text, if its type allows that."""
    try:
        return type(error)(text)
    except TypeError:
        return ValueError(text)


def substitute(tree: Any, folder: str, name: str = "{workdir}") -> Any:
    """Returns `tree` with a name replaced in strings, and references by their values.

    ml_collections itself does not resolve references within lists.

    Args:
      tree: nested dicts and lists.
      folder: what the name becomes: of "{workdir}" the folder of the command, of "{chain}" that
        of the run or chain, which in a study is another one.
      name: the name.
    """
    if isinstance(tree, ml_collections.FieldReference):
        tree = tree.get()
    if isinstance(tree, dict):
        return {k: substitute(v, folder, name) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(substitute(v, folder, name) for v in tree)
    return tree.replace(name, folder) if isinstance(tree, str) else tree
