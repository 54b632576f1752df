"""Checks the arguments of a spec against the signature of its function."""

import inspect
import re
from collections.abc import Callable, Mapping

from avjax.config import signatures

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
CALLABLE = re.compile(r"(\w+\.)*Callable(\[.*\])?( \| None)?")
MAX_VALUE_LENGTH = 80  # Characters of a value in a message.


def check(fn: Callable, name: str, spec: Mapping, args, kwargs: Mapping, path: str) -> None:
    """Raises ValueError if `fn` cannot be called so; the message starts with the dotted key.

    Args:
      fn: the callable.  One without a signature, as some of C are, is not checked.
      name: its dotted name, for messages.
      spec: the config of its arguments; the types of numbers, texts and lists in it are checked.
      args: positional arguments.
      kwargs: keyword arguments.
      path: the dotted key of `spec`.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return
    parameters = signature.parameters.values()
    known = [p.name for p in parameters if p.kind not in (*VARIABLE, p.POSITIONAL_ONLY)]
    accepts_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if not accepts_any and (unknown := [key for key in kwargs if key not in known]):
        raise ValueError(unknown_argument(path, unknown[0], name, known))
    by_position = [p.name for p in parameters if p.kind in POSITIONAL][: len(args)]
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in VARIABLE and p.name not in (*by_position, *kwargs)
    ]
    if missing:
        key = f"{path}.{missing[0]}"
        raise ValueError(f"{key} is missing: {name} requires it; set --{key}=...")
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:  # E.g. too many positional arguments.
        raise ValueError(f"{path}: {name}: {error}") from error
    for key in kwargs:
        if key in signature.parameters:
            _check_type(f"{path}.{key}", spec[key], signature.parameters[key])


def unknown_argument(path: str, key: str, name: str, known: list[str]) -> str:
    """Returns the message about an argument `key` that the function `name` does not have."""
    near = signatures.did_you_mean(key, known)
    takes = ", ".join(known) or "none"
    return f"{path}.{key}: {name} has no argument {key!r}{near or '.'} Its arguments: {takes}"


def _check_type(key, value, parameter):
    """Raises ValueError if a plain value of a config does not have the annotated type."""
    if isinstance(value, Mapping) and ("fn" in value or "ref" in value):
        return
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if hasattr(annotation, "_fields") and isinstance(value, str | bool | int | float):
        raise ValueError(
            f"{_shown(key, value)}: give a dict(fn=...) of a {parameter.annotation.__name__}"
        )
    if CALLABLE.fullmatch(text) and isinstance(value, str):
        raise ValueError(f"{_shown(key, value)}: give a function, dict(ref={value!r})")
    if parameter.annotation is parameter.empty or (value is None and parameter.default is None):
        return
    check_type(key, value, signatures.annotated_types(text))


def check_type(key: str, value, types: tuple[str, ...]) -> None:
    """Raises ValueError unless a value is of one of `types`, keys of `signatures.TYPE_NAMES`.

    Args:
      key: the dotted key.
      value: of a config; objects that are not numbers, texts, lists, dicts or None are accepted.
      types: any type is allowed if there are none.
    """
    plain = isinstance(value, str | bool | int | float | list | tuple | Mapping | None)
    if types and plain and not _fits(value, types):
        raise ValueError(f"{_shown(key, value)}: use {signatures.describe_types(types)}")


def _fits(value, types):
    if value is None:
        return "None" in types
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" in types or "float" in types
    if isinstance(value, list | tuple):
        return "tuple" in types or "list" in types
    return ("dict" if isinstance(value, Mapping) else type(value).__name__) in types


def _shown(key, value):
    text = repr(value)
    return f"{key}={text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + '...'}"
