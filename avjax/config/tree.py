"""Walks a config, a ConfigDict, with the references in it as they are."""

from ml_collections import ConfigDict, FieldReference

from avjax.config import signatures


def own(node):
    """A config with no group of keys in two places: what is set in one stays out of the other.

    References are those of `node`, so that what follows a key still does.
    """
    if isinstance(node, ConfigDict):
        return ConfigDict({key: own(value) for key, value in items(node)})
    if is_part(node):
        return {key: own(value) for key, value in node.items()}
    return type(node)(map(own, node)) if type(node) in (list, tuple) else node


def unset(config: ConfigDict) -> str | None:
    """The key of a placeholder that a function needs and that is not set, or None."""
    first = {}
    for path, value in walk(config):
        if isinstance(value, FieldReference) and value.get() is None:
            first.setdefault(id(value), path)
            first[id(value)] = min(first[id(value)], path, key=len)
    for _, node in walk(config):
        if not is_part(node) or "fn" not in node:
            continue
        empty = [k for k, v in items(node) if isinstance(v, FieldReference) and v.get() is None]
        takes = signatures.arguments(plain(node["fn"])) if empty else {}
        for name in empty:
            if name in takes and takes[name].required:
                return ".".join(first[id(dict(items(node))[name])])
    start = config.get("init_from")
    return "init_from.folder" if is_part(start) and start.get("folder") is None else None


def functions(config) -> dict[tuple, str]:
    """{path: name} of every `fn` in a config."""
    parts = ((path, node) for path, node in walk(config) if is_part(node))
    return {path: plain(node["fn"]) for path, node in parts if "fn" in node}


def walk(node, path=()):
    """(path, value) of all that is in a config, references as they are."""
    yield path, node
    if is_part(node):
        for key, value in items(node):
            yield from walk(value, (*path, str(key)))
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from walk(value, (*path, str(i)))


def items(node: ConfigDict | dict):
    """(key, value) of a mapping, references as they are."""
    if isinstance(node, ConfigDict):
        return node.items(preserve_field_references=True)
    return node.items()


def plain(value):
    """`value`, or what it refers to."""
    return value.get() if isinstance(value, FieldReference) else value


def is_part(node) -> bool:
    """Whether a node of a config is a mapping."""
    return isinstance(node, ConfigDict | dict)
