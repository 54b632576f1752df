"""Sets dotted keys of a config: `--config.data.train.workers=1`.

A key can be set if the config has it, if it is an argument of the function named by `fn` beside
it, or if avjax reads it there (`init_from`, `data.train.workers`).  Values are Python literals,
else text.  A key that sets `fn` is applied before those that set its arguments, in any order;
arguments that the new function does not take are dropped.
"""

import ast
import re
from typing import Any, cast

from ml_collections import ConfigDict, FieldReference

from avjax.config import known_keys, signatures, tree
from avjax.config.errors import with_key
from avjax.config.signatures import ANY, Argument

NAMES = {"fn": Argument(True, ("str",)), "ref": Argument(True, ("str",))}


def apply(config: ConfigDict, settings: list[tuple[str, str]]) -> list[str]:
    """Sets keys of `config` in place.

    Args:
      config: a ConfigDict.
      settings: (dotted key without "config.", text of the value), as on the command line.

    Returns:
      One line per group of arguments that were dropped because of a new `fn`.

    Raises:
      ValueError: for an unknown key or a value of the wrong type; lists the available ones.
    """
    dropped, before = [], tree.function_names(config)
    with config.unlocked(), config.ignore_type():
        for key, text in sorted(settings, key=_order):
            _set(config, config, _path(key), (), text, {})
            dropped += _drop_unaccepted(config, before)
            before = tree.function_names(config)
    return dropped


def _order(setting):
    """Sort key: shallow keys first; `fn` sorts as its parent, after a value for the parent."""
    path = _path(setting[0])
    return (len(path) - 1, 1) if path[-1] in NAMES else (len(path), 0)


def _path(key):
    return tuple(re.sub(r"\[(\d+)\]", r".\1", key).split("."))


def _set(config, node, path, done, text, takes):
    """Returns `node` with the key at `path` set; mappings are changed in place, lists copied.

    Args:
      done: the path of the node.
      takes: Arguments that it accepts beside the keys that it has.
    """
    head, *rest = path
    if isinstance(node, list | tuple):
        if not head.isdigit() or int(head) >= len(node):
            raise ValueError(f"{_dotted(done)} has {len(node)} items: use 0 to {len(node) - 1}")
        items, keys = cast(Any, list(node)), range(len(node))
        head, takes = int(head), {}
    elif tree.is_mapping(node):
        items, keys = node, [*node.keys()]
        takes = takes | _settable_arguments(config, node, done)
    else:
        raise ValueError(f"{_dotted(done)} is {node!r}, not a group of keys: no {head!r} in it")
    if head not in keys and head not in takes and "**" not in takes:
        raise ValueError(_unknown_key(head, {*keys, *takes} - {"**"}, done))
    prefix = (*done, str(head))
    value = tree.dereference(items[head]) if head in keys else None
    if not rest:
        expected_types = takes.get(head, ANY if isinstance(node, list | tuple) else None)
        items[head] = parse_value(
            text, _allowed_types(items, head, value, expected_types), _dotted(prefix), value
        )
        if head == "fn":
            _arguments(items[head], done)
        if head in NAMES and tree.is_mapping(node):  # A part has fn or ref; ref has no arguments.
            for other in [key for key in items.keys() if key == "ref" or head == "ref"]:
                if other != head:
                    del items[other]
    else:
        if not tree.is_mapping(value) and not isinstance(value, list | tuple):
            value = _new(config, value, prefix, rest)
        free = {rest[0]: ANY} if _accepts_new_keys(takes.get(head), value, prefix, rest) else {}
        # A value is put in place first: as a part of the config it has its references.
        if head not in keys or value is not tree.dereference(items[head]):
            items[head] = value
        inner = _set(config, items[head], rest, prefix, text, free)
        if inner is not items[head]:
            items[head] = inner
    return type(node)(items) if isinstance(node, list | tuple) else node


def _new(config, value, prefix, rest):
    """Returns a mapping that replaces `value`, which has no keys, so that `rest` can be set."""
    if len(prefix) == 3 and prefix[0] == "stages" and tree.is_mapping(config.get(prefix[2])):
        return config[prefix[2]].copy_and_resolve_references()  # A copy for the stage.
    if rest in (["fn"], ["ref"]) or prefix == ("init_from",):
        return {"folder": value} if isinstance(value, str) and prefix == ("init_from",) else {}
    if value is not None:
        raise ValueError(f"{_dotted(prefix)} is {value!r}: it has no key {'.'.join(rest)}")
    raise ValueError(
        f"{_dotted(prefix)} is not set: "
        f"add --{_dotted(prefix)}.fn=NAME to set {'.'.join(rest)} of it"
    )


def _accepts_new_keys(argument, value, prefix, rest):
    """Whether a mapping accepts new keys: evaluations, or dicts that a function checks itself."""
    named = rest[1:] in (["fn"], ["ref"])
    known = argument is not None and "dict" in argument.types and "fn" not in value
    return (named and prefix == ("evals",)) or (known and (named or len(rest) == 1))


def _settable_arguments(config, node, done):
    """Returns {key: Argument} of what can be set in a node; "**" if any key can."""
    if "fn" in node:
        takes = _arguments(tree.dereference(node["fn"]), done)
        every = {"every": Argument(False, ("int",))} if done[:1] == ("evals",) == done[:-1] else {}
        return takes | NAMES | every
    if done == ():
        return known_keys.OPTIONAL
    if done == ("init_from",):
        return known_keys.INIT_FROM
    if len(done) == 2 and done[0] == "stages":
        kinds = {key: Argument(False, _type_of(value)) for key, value in config.items()}
        return {**kinds, **known_keys.OPTIONAL, "after": ANY}
    if {"source", "clip_sampler"} <= {*node.keys()}:
        within = done[2:] if done[0] == "stages" else done
        return known_keys.dataset_arguments(within == ("data", "train"))
    if not node or "ref" in node:
        return NAMES
    return {"report": known_keys.PART} if done == ("study",) else {}


def _allowed_types(node, key, value, argument) -> tuple[str, ...]:
    """Returns the allowed types of a value: those of the argument and of the present value."""
    types = argument.types if argument else ()
    raw = dict(tree.items(node)).get(key) if tree.is_mapping(node) else value
    if isinstance(raw, FieldReference) and raw.get_type() is not object:
        there = (raw.get_type().__name__, *(["None"] if value is None else []))
    else:
        there = _type_of(value)
    if argument and not types:  # A number may become a schedule, a schedule anything.
        return () if there in ((), ("dict",)) else (*there, "dict", "None")
    return tuple(t for t in dict.fromkeys((*types, *there)) if t in signatures.TYPE_NAMES)


def _type_of(value) -> tuple[str, ...]:
    return () if value is None else ("dict",) if tree.is_mapping(value) else (type(value).__name__,)


def parse_value(text: str, types: tuple[str, ...], key: str, old=None):
    """Parses a text as one of `types`, or as any literal if there are none.

    Args:
      text: a Python literal or text.
      types: names of types, keys of signatures.TYPE_NAMES.
      key: the dotted key, for messages.
      old: the present value, for messages.

    Raises:
      ValueError: the value has none of these types.
    """
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        value = text
    if not types:
        return value
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if "int" in types and number is not None and number == number // 1 and abs(number) < 2**63:
        return int(number)
    if "float" in types and number is not None:
        return float(number)
    if isinstance(value, list | tuple) and {"tuple", "list"} & {*types}:
        return tuple(value) if "tuple" in types else list(value)
    if type(value).__name__.replace("NoneType", "None") in types:
        return value
    if "str" in types:
        return text
    now = "" if old is None or tree.is_mapping(old) else f" (now {old!r})"
    raise ValueError(f"{key}={text}: use {signatures.describe_types(types)}{now}")


def _arguments(name, done):
    """Returns the arguments of a function; ValueError with the key of its name if there is none."""
    try:
        return signatures.arguments(name)
    except ValueError as error:
        raise ValueError(with_key(_dotted(done), error, {"fn": name})) from error


def _unknown_key(head, known, done) -> str:
    there = ", ".join(sorted(map(str, known))) or "none"
    near = signatures.did_you_mean(head, known)
    return f"{_dotted((*done, head))}: no such key{near or '.'} Keys of {_dotted(done)}: {there}"


def _drop_unaccepted(config, before):
    """Removes arguments that functions that are new since `before` do not accept."""
    nodes, left_out = dict(tree.walk(config)), {}
    for path, fn in tree.function_names(config).items():
        takes = signatures.arguments(fn) if before.get(path, fn) != fn else {"**": ANY}
        if "**" not in takes:
            kept = {*takes, "fn", *(["every"] if path[:1] == ("evals",) else [])}
            invalid = tuple(key for key in nodes[path].keys() if key not in kept)
            for name in invalid:
                del nodes[path][name]
            if invalid:
                left_out.setdefault((fn, invalid), []).append(_dotted(path))
    return [
        f"{fn} does not take {', '.join(unexpected)}: left out of {', '.join(paths)}"
        for (fn, unexpected), paths in left_out.items()
    ]


def _dotted(path):
    return ".".join(("config", *path))
