"""The data set named on a command line: its function, its arguments, its splits."""

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Sequence

import avjax.data.datasets
from avjax.data.source import NoRecords, Source

SET_FLAG = "--set {}".format
IMPLICIT_ARGUMENTS = ("root", "split")  # Arguments of a maker that a command gives by itself.
TYPE_NAMES = {  # In the order in which they are tried.
    type(None): "None",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    tuple: "texts with commas between them",
    str: "text",
}


def resolve_dataset(dataset: str, label: str) -> tuple[Callable, Sequence[str]]:
    """Finds a data set by name: "ucf101" or "ucf101.ucf51" of avjax, or your own dotted name.

    Args:
      dataset: the name.
      label: how the user gave it, for messages, e.g. "--dataset ucf101".

    Returns:
      (make, splits): the function, and SPLITS of its module, or () without any.

    Raises:
      ValueError: there is no such data set.
    """
    short_name = dataset.removeprefix("avjax.data.datasets.")
    file = short_name.partition(".")[0]
    is_builtin = (
        importlib.util.find_spec(f"avjax.data.datasets.{file}") is not None if file else False
    )
    name = f"avjax.data.datasets.{short_name}" if is_builtin else dataset
    try:
        found = pkgutil.resolve_name(name)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        missing = getattr(error, "name", None)
        if isinstance(error, ModuleNotFoundError) and not f"{name}.".startswith(f"{missing}."):
            raise  # Of what the data set's own module imports.
        raise ValueError(f"{label} cannot be imported: {_choices_message(short_name)}") from error
    make = getattr(found, "make", found)
    if (
        not callable(make)
        or not set(IMPLICIT_ARGUMENTS) <= inspect.signature(make).parameters.keys()
    ):
        raise ValueError(
            f"{label} is not a data set, it has no make(root, split, ...): "
            f"{_choices_message(short_name)}"
        )
    return make, getattr(_module_of(found), "SPLITS", ())


def _choices_message(name):
    names = dataset_names()
    return (
        f"use one of {', '.join(names)}, or the dotted name of a module with make and SPLITS"
        f"{_did_you_mean(name, names)}"
    )


def dataset_names() -> list[str]:
    """Returns the names of the data sets of avjax.data.datasets."""
    names = (part.name for part in pkgutil.iter_modules(avjax.data.datasets.__path__))
    return [
        n for n in names if hasattr(importlib.import_module(f"avjax.data.datasets.{n}"), "SPLITS")
    ]


def parse_arguments(dataset: str, make: Callable, pairs: Sequence[str]) -> dict:
    """Parses ["holdout=0.5", ...] to {"holdout": 0.5, ...}, arguments of `make`.

    Values are Python literals, else text; their type is checked against the annotation of
    the argument, or else against its default.

    Args:
      dataset, make: name of the data set, for messages, and its function.
      pairs: "NAME=VALUE" for each.

    Raises:
      ValueError: `make` has no such argument, or the value has another type.
    """
    parameters = _parameters(make)
    accepts_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: write it as NAME=VALUE")
        if name not in parameters and not accepts_any:
            available = ", ".join(parameters) or "none"
            raise ValueError(
                f"--set {pair}: data set {dataset} has no argument {name!r}; it has: {available}"
                f"{_did_you_mean(name, parameters)}"
            )
        values[name] = _parse_value(pair, text, parameters.get(name))
    return values


def require_arguments(
    label: str, make: Callable, options: dict, flag: Callable[[str], str] = SET_FLAG
) -> None:
    """Raises ValueError unless `options` has all required arguments of `make`.

    Args:
      label, make: name of the data set, for the message, and its function.
      options: {name: value} of the arguments that are set.
      flag: name of an argument -> how to set it, for the message.
    """
    parameters = _parameters(make)
    required = [
        n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD
    ]
    missing = [name for name in required if name not in options]
    if missing:
        missing_arguments = "; ".join(
            f"{flag(name)}=... ({_argument_doc(make, name)})" for name in missing
        )
        hint = getattr(_module_of(make), "DOWNLOAD_HINT", "")
        raise ValueError(f"{label} needs {missing_arguments}{'. ' * bool(hint)}{hint}")


def make_sources(
    make: Callable, splits: Sequence[str], root: str, requested: Sequence[str] | None, options: dict
) -> dict[str, Source]:
    """Opens the `requested` splits of a data set, or all that have records.

    Args:
      make, splits: of the data set, see `resolve_dataset`.
      root: folder of the data.
      requested: names of the splits to open; None or () for all.
      options: further arguments of `make`.

    Raises:
      ValueError, NoRecords: the splits have no names, no records, or differ in their classes.
    """
    if not (requested or splits):
        raise ValueError(f"{make.__module__} has no SPLITS: name those to prepare with --split")
    found = {}
    for split in requested or splits:
        try:
            found[split] = make(root, split, **options)
        except NoRecords:
            if requested or (split == splits[-1] and not found):
                raise
    if len({source.classes for source in found.values()}) > 1:
        raise ValueError(f"{root}: the splits {list(found)} differ in their classes")
    return found


def _parameters(make):
    try:
        signature = inspect.signature(make, eval_str=True)
    except (NameError, AttributeError):  # Annotations that are not there when it runs.
        signature = inspect.signature(make)
    return {name: p for name, p in signature.parameters.items() if name not in IMPLICIT_ARGUMENTS}


def _parse_value(pair, text, parameter):
    """The text of a value, converted to the type of the parameter."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    allowed = _allowed_types(parameter)
    if not allowed:
        return value
    for kind in allowed:
        matches, coerced = _coerce(value, text, kind)
        if matches:
            return coerced
    expected = " or ".join(TYPE_NAMES[kind] for kind in allowed)
    default = parameter.default
    default_note = "" if default is parameter.empty else f" (default {_truncated_repr(default)})"
    raise ValueError(f"--set {pair}: {parameter.name} is {expected}{default_note}")


def _allowed_types(parameter):
    """The types of a parameter; () if any type is allowed."""
    if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
        return ()
    hint, default = parameter.annotation, parameter.default
    if hint is not parameter.empty:
        union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        allowed = {_base_type(part) for part in (typing.get_args(hint) if union else (hint,))}
    else:
        allowed = (
            {_base_type(type(default))} if default not in (None, parameter.empty) else {object}
        )
    if default is None:
        allowed.add(type(None))
    return (
        () if allowed - TYPE_NAMES.keys() else tuple(kind for kind in TYPE_NAMES if kind in allowed)
    )


def _base_type(hint):
    """The type of TYPE_NAMES for an annotation; object for any other."""
    hint = typing.get_origin(hint) or hint
    if hint in (list, Sequence):
        return tuple
    if isinstance(hint, type) and issubclass(hint, typing.cast(type, os.PathLike)):
        return str
    return hint if hint in TYPE_NAMES else object


def _coerce(value, text, kind):
    """(whether a value matches a type, the value converted to it)."""
    if kind is bool:
        return value in (0, 1) and not isinstance(value, str), bool(value)
    if kind is int:
        return type(value) is int, value
    if kind is float:
        is_number = type(value) in (int, float)
        return is_number, float(value) if is_number else None
    if kind is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        is_sequence = isinstance(value, (list, tuple))
        return is_sequence, tuple(value) if is_sequence else None
    if kind is str:
        return True, value if isinstance(value, str) else text
    return value is None, None


def _did_you_mean(name, names):
    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]}?" if close else ""


def _argument_doc(make, name):
    """First sentence on an argument in the docstring of `make`, or of its module's `make`."""
    for function in (make, getattr(_module_of(make), "make", None)):
        text = inspect.getdoc(function) or ""
        if match := re.search(rf"^( *){name}: (.*(?:\n\1 +\S.*)*)", text, re.MULTILINE):
            return re.split(r"\.(?:\s|$)", " ".join(match[2].split()))[0]
    return "see its documentation"


def _module_of(found):
    return found if inspect.ismodule(found) else inspect.getmodule(found)


def _truncated_repr(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
