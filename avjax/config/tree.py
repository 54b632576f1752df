"""Functions on a config (a ConfigDict) that preserve its references."""

from collections.abc import Iterable, Iterator
from typing import Any

from ml_collections import ConfigDict, FieldReference

from avjax.config import signatures


def copy_with_references(node: Any) -> Any:
    """Copies a config so that no mapping occurs twice: setting a key changes one place only.

    References are shared with `node`, so that they still follow their key.
    """
    if isinstance(node, ConfigDict):
        return ConfigDict({key: copy_with_references(value) for key, value in items(node)})
    if is_mapping(node):
        return {key: copy_with_references(value) for key, value in node.items()}
    return type(node)(map(copy_with_references, node)) if type(node) in (list, tuple) else node


def first_unset_key(config: ConfigDict) -> str | None:
    """Returns the dotted key of a required placeholder that is not set, or None."""
    first = {}
    for path, value in walk(config):
        if isinstance(value, FieldReference) and value.get() is None:
            first.setdefault(id(value), path)
            first[id(value)] = min(first[id(value)], path, key=len)
    for _, node in walk(config):
        if not is_mapping(node) or "fn" not in node:
            continue
        empty = [k for k, v in items(node) if isinstance(v, FieldReference) and v.get() is None]
        takes = signatures.arguments(dereference(node["fn"])) if empty else {}
        for name in empty:
            if name in takes and takes[name].required:
                return ".".join(first[id(dict(items(node))[name])])
    start = dereference(config.get("init_from"))
    return "init_from.folder" if is_mapping(start) and start.get("folder") is None else None


def function_names(config: Any) -> dict[tuple, str]:
    """Returns {path: name} of every `fn` in a config."""
    parts = ((path, node) for path, node in walk(config) if is_mapping(node))
    return {path: dereference(node["fn"]) for path, node in parts if "fn" in node}


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields (path, value) of all nodes of a config, without resolving references."""
    yield path, node
    if is_mapping(node):
        for key, value in items(node):
            yield from walk(value, (*path, str(key)))
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from walk(value, (*path, str(i)))


def items(node: ConfigDict | dict) -> Iterable[tuple[Any, Any]]:
    """Returns (key, value) of a mapping, without resolving references."""
    if isinstance(node, ConfigDict):
        return node.items(preserve_field_references=True)
    return node.items()


def dereference(value: Any) -> Any:
    """Returns `value`, or the value of a reference."""
    return value.get() if isinstance(value, FieldReference) else value


def is_mapping(node: Any) -> bool:
    """Whether a node of a config is a mapping."""
    return isinstance(node, ConfigDict | dict)
