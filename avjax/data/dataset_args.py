"""The data set that a command names: its maker, its arguments, the sources of its splits."""

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

SET = "--set {}".format
GIVEN = ("root", "split")  # Arguments of a maker that a command gives by itself.
WORDS = {  # In the order in which they are tried.
    type(None): "None",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    tuple: "texts with commas between them",
    str: "text",
}


def maker(dataset: str, said: str) -> tuple[Callable, Sequence[str]]:
    """(make, its splits): "ucf101" or "ucf101.ucf51" of avjax, or a dotted name of yours.

    Args:
      said: how the data set was named, for messages, e.g. "--dataset ucf101".

    Returns:
      The splits are those of the module's SPLITS; () where it has none.

    Raises:
      ValueError: there is no such data set.
    """
    plain = dataset.removeprefix("avjax.data.datasets.")
    file = plain.partition(".")[0]
    ours = importlib.util.find_spec(f"avjax.data.datasets.{file}") is not None if file else False
    name = f"avjax.data.datasets.{plain}" if ours else dataset
    try:
        found = pkgutil.resolve_name(name)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        missing = getattr(error, "name", None)
        if isinstance(error, ModuleNotFoundError) and not f"{name}.".startswith(f"{missing}."):
            raise  # Of what the data set's own module imports.
        raise ValueError(f"{said} cannot be imported: {_choices(plain)}") from error
    make = getattr(found, "make", found)
    if not callable(make) or not set(GIVEN) <= inspect.signature(make).parameters.keys():
        raise ValueError(
            f"{said} is not a data set, it has no make(root, split, ...): {_choices(plain)}"
        )
    return make, getattr(_module(found), "SPLITS", ())


def _choices(name):
    names = known()
    return (
        f"use one of {', '.join(names)}, or the dotted name of a module with make and SPLITS"
        f"{_nearest(name, names)}"
    )


def known() -> list[str]:
    """Names of the data sets of avjax.data.datasets."""
    names = (part.name for part in pkgutil.iter_modules(avjax.data.datasets.__path__))
    return [
        n for n in names if hasattr(importlib.import_module(f"avjax.data.datasets.{n}"), "SPLITS")
    ]


def arguments(dataset: str, make: Callable, pairs: Sequence[str]) -> dict:
    """["holdout=0.5", ...] -> {"holdout": 0.5, ...}, arguments of `make`.

    Values are Python literals, else text; they are compared with the annotation of an argument,
    or else with its default.

    Raises:
      ValueError: a name that `make` does not take, or a value of another type.
    """
    parameters = _parameters(make)
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    out = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: write it as NAME=VALUE")
        if name not in parameters and not free:
            there = ", ".join(parameters) or "none"
            raise ValueError(
                f"--set {pair}: data set {dataset} has no argument {name!r}; it has: {there}"
                f"{_nearest(name, parameters)}"
            )
        out[name] = _value(pair, text, parameters.get(name))
    return out


def require(said: str, make: Callable, options: dict, flag=SET) -> None:
    """Raises ValueError unless `options` has all arguments that `make` needs.

    flag: the name of an argument -> how it is set, for the message.
    """
    parameters = _parameters(make)
    needed = [
        n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD
    ]
    missing = [name for name in needed if name not in options]
    if missing:
        needs = "; ".join(f"{flag(name)}=... ({_described(make, name)})" for name in missing)
        where = getattr(_module(make), "WHERE", "")
        raise ValueError(f"{said} needs {needs}{'. ' * bool(where)}{where}")


def sources(
    make: Callable, splits: Sequence[str], root: str, chosen: Sequence[str] | None, options: dict
) -> dict[str, Source]:
    """{split: Source} of the `chosen` splits, or of all that have records."""
    if not (chosen or splits):
        raise ValueError(f"{make.__module__} has no SPLITS: name those to prepare with --split")
    found = {}
    for split in chosen or splits:
        try:
            found[split] = make(root, split, **options)
        except NoRecords:
            if chosen or (split == splits[-1] and not found):
                raise
    if len({source.classes for source in found.values()}) > 1:
        raise ValueError(f"{root}: the splits {list(found)} differ in their classes")
    return found


def _parameters(make):
    try:
        signature = inspect.signature(make, eval_str=True)
    except (NameError, AttributeError):  # Annotations that are not there when it runs.
        signature = inspect.signature(make)
    return {name: p for name, p in signature.parameters.items() if name not in GIVEN}


def _value(pair, text, parameter):
    """The text of a value as what the parameter is to be."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    kinds = _kinds(parameter)
    if not kinds:
        return value
    for kind in kinds:
        fits, fitted = _fitted(value, text, kind)
        if fits:
            return fitted
    said = " or ".join(WORDS[kind] for kind in kinds)
    default = parameter.default
    known = "" if default is parameter.empty else f" (default {_short(default)})"
    raise ValueError(f"--set {pair}: {parameter.name} is {said}{known}")


def _kinds(parameter):
    """The types of a parameter; () where any will do."""
    if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
        return ()
    hint, default = parameter.annotation, parameter.default
    if hint is not parameter.empty:
        union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        kinds = {_plain(part) for part in (typing.get_args(hint) if union else (hint,))}
    else:
        kinds = {_plain(type(default))} if default not in (None, parameter.empty) else {object}
    if default is None:
        kinds.add(type(None))
    return () if kinds - WORDS.keys() else tuple(kind for kind in WORDS if kind in kinds)


def _plain(hint):
    """The type of WORDS that an annotation stands for; object for any other."""
    hint = typing.get_origin(hint) or hint
    if hint in (list, Sequence):
        return tuple
    if isinstance(hint, type) and issubclass(hint, os.PathLike):
        return str
    return hint if hint in WORDS else object


def _fitted(value, text, kind):
    """(whether a value is of a kind, the value as that)."""
    if kind is bool:
        return value in (0, 1) and not isinstance(value, str), bool(value)
    if kind is int:
        return type(value) is int, value
    if kind is float:
        number = type(value) in (int, float)
        return number, float(value) if number else None
    if kind is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        several = isinstance(value, (list, tuple))
        return several, tuple(value) if several else None
    if kind is str:
        return True, value if isinstance(value, str) else text
    return value is None, None


def _nearest(name, names):
    near = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _described(make, name):
    """The first sentence on an argument in the docstring of `make`, or of its module's `make`."""
    for function in (make, getattr(_module(make), "make", None)):
        text = inspect.getdoc(function) or ""
        if match := re.search(rf"^( *){name}: (.*(?:\n\1 +\S.*)*)", text, re.MULTILINE):
            return re.split(r"\.(?:\s|$)", " ".join(match[2].split()))[0]
    return "see its documentation"


def _module(found):
    return found if inspect.ismodule(found) else inspect.getmodule(found)


def _short(value):
    said = repr(value)
    return said if len(said) <= 60 else f"{said[:57]}..."
