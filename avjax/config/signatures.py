"""Arguments of the function behind a dotted name, read from its source without importing it.

Importing a method imports JAX, which takes seconds; a misspelt key should fail at once.
"""

import ast
import difflib
import importlib.util
import inspect
import pkgutil
import re
import types
from pathlib import Path
from typing import NamedTuple

# Plain types -> what to give, for messages.
TYPE_NAMES = {
    "int": "a whole number", "float": "a number", "bool": "True or False", "str": "text",
    "tuple": "a list such as (1, 2)", "list": "a list such as [1, 2]", "None": "None",
    "dict": "a dictionary such as {'fn': 'package.name'}",
}  # fmt: skip
# In a module with one of these a name may be defined that its text does not have.
DYNAMIC = r"import \*|def __getattr__|globals\(\)|setattr\("
# Annotations that stand for plain types.
ALIASES = {"Mapping": "dict", "Sequence": "tuple"}


class Argument(NamedTuple):
    """One argument of a function.

    required: whether it has no default.
    types: names in TYPE_NAMES of its allowed types; empty if any type is allowed.
    """

    required: bool
    types: tuple[str, ...]


ANY = Argument(False, ())


def arguments(name: str) -> dict[str, Argument]:
    """Returns {argument: Argument} of a callable or a module's `make`; "**" if it takes any.

    Raises:
      ValueError: `name` cannot be imported; with the most similar name.
    """
    node = _definition(name)
    if node is None:
        return _inspect(name)
    if isinstance(node, ast.FunctionDef):
        return _of_function(node.args, skip=0)
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    if "__init__" in methods:
        return _of_function(methods["__init__"].args, skip=1)
    if "__new__" in methods or any(
        ast.unparse(base).split(".")[-1] not in ("Module", "NamedTuple") for base in node.bases
    ):
        return _inspect(name)  # Inherited fields may be arguments too.
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    return {
        f.target.id: _argument(f.annotation, f.value)
        for f in fields
        if isinstance(f.target, ast.Name)
    }


def did_you_mean(name: str, known, least: float = 0.6) -> str:
    """Returns "; did you mean 'x'?" with the most similar of `known`, or ""."""
    found = difflib.get_close_matches(name, list(known), 1, least)
    return f"; did you mean {found[0]!r}?" if found else ""


def describe_types(types: tuple[str, ...]) -> str:
    """Returns what to give for one of `types`, e.g. "a whole number or None"."""
    words = [TYPE_NAMES[t] for t in types if t != "dict"] or [TYPE_NAMES["dict"]]
    return " or ".join(dict.fromkeys(words))


def attributes_of(name: str) -> list[str]:
    """Returns the part of a dotted name below its module, e.g. ["make"]; imports nothing."""
    return _file(name)[1]


def resolve(name: str, key: str = "fn"):
    """Returns the object of a dotted name.

    Args:
      name: the dotted name.
      key: the key that has it, for messages.

    Raises:
      ValueError: it cannot be imported; with the most similar name.
    """
    if not isinstance(name, str):
        raise ValueError(f"{key}={name!r}: give a dotted name, e.g. 'optax.adamw'")
    if (missing := _missing_attribute(name)) is not None:
        raise ValueError(f"{key}={name!r} cannot be imported: {missing}{_hint(name)}")
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{key}={name!r} cannot be imported: {error}{_hint(name)}") from error


def resolve_callable(name: str):
    """Returns the callable of a dotted name, or `make` of a module; ValueError if there is none."""
    fn = resolve(name)
    fn = fn.make if isinstance(fn, types.ModuleType) and hasattr(fn, "make") else fn
    if not callable(fn):
        raise ValueError(f"fn={name!r} is a {type(fn).__name__}: name a function or a class")
    return fn


def _missing_attribute(name):
    """Returns what a module lacks if its text, which is not run, cannot define it; else None."""
    path, rest = _file(name)
    if path is None or not rest or not path.is_file() or [*path.parent.glob(f"{rest[0]}.*")]:
        return None
    text = path.read_text(encoding="utf-8")
    if re.search(rf"\b{re.escape(rest[0])}\b|{DYNAMIC}", text):
        return None
    return f"module {name.removesuffix('.' + '.'.join(rest))!r} has no attribute {rest[0]!r}"


def _hint(name):
    """Returns the most similar name in the deepest package or module that exists."""
    path, rest = _file(name)
    if path is None or not rest:
        return ""
    known = [n for node in _tree(path).body if (n := getattr(node, "name", None))]
    if path.name == "__init__.py":
        known += [other.stem for other in path.parent.glob("*.py") if other != path]
        imports = (node for node in _tree(path).body if isinstance(node, ast.ImportFrom))
        known += [alias.asname or alias.name for node in imports for alias in node.names]
    return did_you_mean(rest[0], known)


def _file(name):
    """Returns (the Python file of a dotted name, the rest of the name within it)."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)  # A top-level name is found without importing it.
    except ValueError:
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None, rest
    path = Path(spec.origin)
    while rest and path.name == "__init__.py":
        inner = path.parent / rest[0]
        if inner.with_suffix(".py").is_file():
            path = inner.with_suffix(".py")
        elif inner.is_dir():
            path = inner / "__init__.py"  # It may be missing: a namespace.
        else:
            break
        rest = rest[1:]
    return path, rest


def _tree(path):
    return ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")


def _definition(name):
    """Returns the `def` or `class` of a dotted name, following re-exports; None if not found."""
    path, rest = _file(name)
    if path is None or len(rest) > 1:
        return None
    attribute = rest[0] if rest else "make"
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == attribute:
            return node
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                if (alias.asname or alias.name) == attribute:
                    return _definition(f"{node.module}.{alias.name}")
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == attribute:
            # E.g. `sgdr_schedule = schedules.sgdr_schedule` in optax/__init__.py.
            inner = ast.unparse(node.value)
            package = name.removesuffix(f".{attribute}") if path.name == "__init__.py" else ""
            if package and "." in inner and inner.replace(".", "").isidentifier():
                return _definition(f"{package}.{inner}")
    return None


def _of_function(args, skip):
    named = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(named) - len(args.defaults)) + args.defaults
    pairs = [*zip(named, defaults)][max(skip, len(args.posonlyargs)) :]
    pairs += zip(args.kwonlyargs, args.kw_defaults)
    found = {arg.arg: _argument(arg.annotation, default) for arg, default in pairs}
    return found | ({"**": ANY} if args.kwarg else {})


def _argument(annotation, default):
    """Returns the Argument of two nodes, either of which may be None."""
    try:
        value = () if default is None else (ast.literal_eval(default),)
    except ValueError:  # An expression: its type is not known here.
        return Argument(False, _types(annotation))
    found = _types(annotation)
    if annotation is None and value and value[0] is not None:
        found = (type(value[0]).__name__,)
    if found and value == (None,):
        found = (*found, "None")
    return Argument(default is None, found)


def annotated_types(text: str) -> tuple[str, ...]:
    """Returns the plain types of an annotation as text, e.g. "int | None"; () for others."""
    try:
        return _types(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return ()


def _types(annotation) -> tuple[str, ...]:
    """Returns the plain types of an annotation, e.g. `int | None`; () for other annotations."""
    if annotation is None:
        return ()
    if isinstance(annotation, ast.BinOp):
        sides = _types(annotation.left), _types(annotation.right)
        return sides[0] + sides[1] if all(sides) else ()
    if isinstance(annotation, ast.Subscript):
        return _types(annotation.value)
    name = ast.unparse(annotation).split(".")[-1]
    name = ALIASES.get(name, name)
    return (name,) if name in TYPE_NAMES else ()


def _inspect(name):
    """Like `arguments`, for objects whose source cannot be read: imports them."""
    fn = resolve_callable(name)
    try:
        given = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # Some C functions have no signature.
        return {"**": ANY}
    by_name = (p for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    found = {p.name: Argument(p.default is p.empty, ()) for p in by_name}
    return found | ({"**": ANY} if any(p.kind is p.VAR_KEYWORD for p in given) else {})
