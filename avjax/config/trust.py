"""Which names a config may have that is read from a folder: data, not a program.

A config file given with --config is Python and may name anything.  config.json in the folder of a
run may come from anyone: it names parts of avjax, functions of optax, and packages that the user
names with --trust.
"""

import functools
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avjax.config import signatures

# Functions of arrays and of other parts.  None of them opens a file, starts a program, or imports
# what an argument names; data sets and reports do.
PARTS = (
    "avjax.methods", "avjax.nets", "avjax.losses", "avjax.ops", "avjax.evals",
    "avjax.data.clip_sampling", "avjax.data.clip_grid", "avjax.data.transforms",
    "avjax.training.optim", "optax",
)  # fmt: skip
# Single functions of Python that the shipped configs name.
FUNCTIONS = ("functools.partial", "operator.ge", "operator.gt", "operator.le", "operator.lt")
HELP = (
    "a package, beside avjax and optax, whose parts the run's config.json may name: they run its "
    "code; may be repeated"
)


def check_names(spec: Any, path: str, trust: Sequence[str]) -> None:
    """Checks all names in a config; imports nothing.

    Args:
      spec: the config, or a part of it.
      path: its dotted key, for messages.
      trust: packages that may be named beside PARTS.

    Raises:
      ValueError: a name is not one of PARTS or `trust`; with its key and the remedy.
    """
    check_packages(trust)
    for key, name in iter_names(spec, path):
        if not isinstance(name, str):
            raise ValueError(f"{key}={name!r}: give a dotted name, e.g. 'optax.adamw'")
        if name in FUNCTIONS:
            continue
        if not _is_dotted_name(name) or not is_below(name, (*PARTS, *trust)):
            raise ValueError(f"{key}={name!r} is refused{_reason(name)}")
        attributes = signatures.attributes_of(name)
        if len(attributes) > 1 and not is_below(name, trust):
            raise ValueError(
                f"{key}={name!r} is refused in the config of a run: name a function, a class or a "
                f"module, not {'.'.join(attributes)} within a module"
            )


def check_packages(trust: Sequence[str]) -> None:
    """Raises ValueError unless `trust` is a sequence of names of packages that may be trusted."""
    if isinstance(trust, str):
        raise ValueError(f"trust={trust!r}: give a tuple of names of packages, ({trust!r},)")
    for package in trust:
        if not _is_dotted_name(package):
            raise ValueError(f"--trust {package}: give the name of a package, e.g. mypackage")
        if package.split(".")[0] in sys.stdlib_module_names:
            raise ValueError(
                f"--trust {package}: with a package of Python a config can run any command; name "
                "one of your own"
            )


def check_object(found: Any, key: str, name: str, trust: Sequence[str]) -> None:
    """Checks where an object is defined: a module of PARTS also holds what it imports.

    Args:
      found: the object.
      key, name: the dotted key that names it, and its name.
      trust: packages that may define it beside PARTS.

    Raises:
      ValueError: it is defined elsewhere.
    """
    while isinstance(found, functools.partial):
        found = found.func
    where = found.__name__ if isinstance(found, types.ModuleType) else _module(found)
    if name not in FUNCTIONS and not is_below(where, (*PARTS, *trust)):
        raise ValueError(f"{key}={name!r} is defined in {where}: it is refused{_reason(where)}")


def _module(found: Any) -> str:
    """Returns the module that defines an object; for a constant, that of its type."""
    return getattr(found, "__module__", None) or type(found).__module__


def iter_names(spec: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, name) of each `fn` and `ref` in a config.

    Args:
      spec: the config, or a part of it.
      path: its dotted key.
    """
    if isinstance(spec, Mapping):
        for key, part in spec.items():
            if key in ("fn", "ref"):
                yield f"{path}.{key}", part
            yield from iter_names(part, f"{path}.{key}")
    elif isinstance(spec, list | tuple) and not hasattr(spec, "_fields"):
        for i, part in enumerate(spec):
            yield from iter_names(part, f"{path}.{i}")


def _is_dotted_name(name: Any) -> bool:
    """Whether all parts of a name are public identifiers."""
    return isinstance(name, str) and all(
        part.isidentifier() and part[0] != "_" for part in name.split(".")
    )


def is_below(name: str, packages: Sequence[str]) -> bool:
    """Returns whether a dotted name is one of `packages`, or within one."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _reason(name: str) -> str:
    """Returns why a name is refused and, for other packages, the remedy."""
    ours = ", ".join(part.removeprefix("avjax.") for part in PARTS[:-1])
    text = (
        " in the config of a run, which may come from anyone: it may name parts of avjax "
        f"({ours}) and of optax"
    )
    package = name.split(".")[0]
    if not _is_dotted_name(name) or package in (*sys.stdlib_module_names, "avjax", "optax"):
        return text
    return (
        f"{text}; if you trust both the run and {package}, add --trust {package}, in Python "
        f"trust=({package!r},)"
    )
