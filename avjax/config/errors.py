"""Puts the dotted key of a config in front of error messages."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

ARGUMENT = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)=")  # "momentum=2.0: use ...", "terms.v2a=-1: ..."


def with_key(path: str, message: Any, spec: Any = None) -> str:
    """Returns a message with a dotted key in front, unless it starts with one.

    A message about an argument, "momentum=2.0: use ...", gets the key of the argument if `spec`
    has it: "config.method.negatives.momentum=2.0: use ...".

    Args:
      path: the dotted key of the part that the message is about, e.g. "config.method".
      message: a text or an error.
      spec: the part, nested dicts and lists.
    """
    text = str(message)
    if re.match(r"config\b", text):
        return text
    key = _key_of_argument(text, spec)
    return f"{path}.{key}{text[text.index('=') :]}" if key else f"{path}: {text}"


def _key_of_argument(text, spec):
    """Returns the dotted key, within `spec`, of the argument that a message starts with, or ""."""
    match = ARGUMENT.match(text)
    if match is None:
        return ""
    name = match[1]
    if isinstance(spec, Mapping) and name.split(".")[0] in spec:
        return name
    # Within nested parts: the only one with this name and value.
    value = text[match.end() :]
    found = [
        key
        for key, leaf in _items(spec)
        if f".{key}".endswith(f".{name}") and re.match(re.escape(repr(leaf)) + r"(?![\w.])", value)
    ]
    return found[0] if len(found) == 1 else ""


def _items(spec, path=()):
    """Yields (dotted key, value) of all nodes of nested dicts and lists, except `spec` itself."""
    if path:
        yield ".".join(path), spec
    if isinstance(spec, Mapping):
        for name, part in spec.items():
            yield from _items(part, (*path, str(name)))
    elif isinstance(spec, list | tuple):
        for i, part in enumerate(spec):
            yield from _items(part, (*path, str(i)))


@contextlib.contextmanager
def complete_keys(config: Mapping) -> Iterator[None]:
    """Completes the keys in the messages of ValueErrors about a run's config.

    "config.method: num_negatives=100 ..." becomes "config.method.negatives.num_negatives=100 ...".

    Args:
      config: of the run, a plain dict.
    """
    with _rewritten(lambda text: _complete(text, config)):
        yield


@contextlib.contextmanager
def stage_keys(stages: Mapping, folder: str) -> Iterator[None]:
    """Names the stage in the messages of ValueErrors about its config.

    The key of a part that the stage replaces becomes "config.stages.NAME.KEY".

    Args:
      stages: config.stages of the whole config; {} if it has none.
      folder: of the stage; it ends in the name.
    """
    names = [name for name in stages if f"/{folder}".endswith(f"/{name}")]
    name = max(names, key=len, default="")
    with _rewritten(lambda text: _of_stage(text, stages[name], name) if name else text):
        yield


@contextlib.contextmanager
def _rewritten(change):
    try:
        yield
    except ValueError as error:
        if (text := change(str(error))) == str(error):
            raise
        raise ValueError(text) from error


def _complete(text, config):
    """Returns "config.a: b=1: ..." as "config.a.b=1: ...", or as the key of a nested part."""
    match = re.match(r"config((?:\.\w+)*): ", text)
    if match is None:
        return text
    node = config
    for name in match[1].split(".")[1:]:
        if isinstance(node, list | tuple) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, Mapping) and name in node:
            node = node[name]
        else:
            return text
    return with_key(f"config{match[1]}", text[match.end() :], node)


def _of_stage(text, own, stage):
    """Returns a message with the key of the stage, which replaces the parts `own`.

    A part without `fn` replaces only the arguments in it.
    """
    match = re.match(r"config\.(\w+)(?:\.(\w+))?", text)
    part = own.get(match[1]) if match else None
    arguments = isinstance(part, Mapping) and not {"fn", "ref"} & part.keys()
    if match and match[1] in own and (not arguments or match[2] in own[match[1]]):
        return f"config.stages.{stage}.{text.removeprefix('config.')}"
    return f"{text} (in config.stages.{stage})"
