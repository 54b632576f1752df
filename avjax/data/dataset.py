"""A known data set by its name, one of one's own, or a prepared one: what configs take data from.

A name is a file of avjax.data ("kinetics", "ucf101", "ucf101.ucf51"), or the dotted name of a
module or function of one's own with the same arguments.  There is no registry.
"""

import difflib
import inspect
import json
import logging
import os
import pkgutil
import re

from avjax.data import shards
from avjax.data.source import NoRecords, Source

# For messages only: any file of avjax.data with `make` and `SPLITS` is found by its name.
KNOWN = (
    "folder", "kinetics", "audioset", "vggsound", "ucf101", "ucf101.ucf51", "hmdb51",
    "activitynet", "esc50", "esc50.esc10", "dcase2014",
)  # fmt: skip
# The splits that serve a purpose, the best first.  "probe" trains classifiers on the features.
ROLES = {
    "train": ("train", "unbalanced_train", "balanced_train"),
    "probe": ("balanced_train", "train", "unbalanced_train"),
    "test": ("test", "eval", "val"),
}
KEY = "--config.data.{}".format


def make(
    source: str,
    root: str | None,
    role: str,
    train_split: str | None = None,
    test_split: str | None = None,
    **options,
) -> Source:
    """Returns the Source of one split of a data set, prepared or not.

    A folder with a prepared.json is read with avjax.data.shards, whatever `source` says.

    Args:
      source: the name of the data set, see above; "shards" insists on a prepared one.
      root: the folder of the files, or the one that avjax.prepare wrote.
      role: a key of ROLES.  Of its splits the first counts that exists and has records, so a set
        without "test" is evaluated on "val".
      train_split, test_split: the split to use instead, for "train" and "probe", and for "test".
      options: arguments of the data set, such as lists, fold or group; None leaves its default.

    Raises:
      ValueError: root is missing; an option that the data set does not take, or one it requires.
      NoRecords, FileNotFoundError: what is not there, and where the data set comes from.
    """
    if root is None:
        raise ValueError(f"config.data.root is not set: add {KEY('root')}=DIR")
    options = {name: value for name, value in options.items() if value is not None}
    chosen = test_split if role == "test" else train_split
    told = os.path.join(root, "prepared.json")
    if os.path.exists(told) or source.removeprefix("avjax.data.") == "shards":
        return _prepared(root, told, role, chosen, options)
    maker, splits = named(source)
    check(source, maker, options)
    wanted = (chosen,) if chosen else _of(role, splits, source)
    return _first(role, wanted, lambda split: maker(root, split, **options))


def _prepared(root, told, role, chosen, options):
    check(f"{root}, which is prepared,", shards.make, options)
    if "fold" in options and "splits" not in options:
        raise ValueError(
            f"config.data.fold is set, but the splits of {root} were chosen by avjax.prepare "
            "(--set fold=N): leave it out, or prepare that fold into another folder"
        )
    there = ROLES[role]
    if not chosen and "splits" not in options and os.path.exists(told):
        with open(told, encoding="utf-8") as file:
            there = _of(role, json.load(file)["splits"], root)
    wanted = (chosen,) if chosen else there
    return _first(role, wanted, lambda split: shards.make(root, split, **options))


def _of(role, splits, source):
    """The splits that there are of those that serve `role`; a set that names none has them all."""
    found = tuple(split for split in ROLES[role] if split in splits or not splits)
    if not found:
        key = KEY("test_split" if role == "test" else "train_split")
        raise NoRecords(f"{source} has only the splits {', '.join(splits)}: choose with {key}=NAME")
    return found


def _first(role, splits, build):
    """The Source of the first split that has records; else the error of the first one.

    Only what is trained on must be there: without the others no evaluation is made.
    """
    failed = None
    for split in splits:
        try:
            source = build(split)
        except (NoRecords, FileNotFoundError) as error:
            failed = failed or error
            continue
        if failed:
            logging.getLogger(__name__).info("%s is used instead: %s", source.name, failed)
        return source
    raise failed if role == "train" else NoRecords(str(failed)) from failed


def named(name: str):
    """Returns (maker, splits) of a data set; splits is () where its module has no SPLITS.

    Raises:
      ValueError: there is no such data set; names those that are known and the nearest one.
    """
    plain = name.removeprefix("avjax.data.")
    ours = os.path.exists(os.path.join(os.path.dirname(__file__), f"{plain.partition('.')[0]}.py"))
    try:
        found = pkgutil.resolve_name(f"avjax.data.{plain}" if ours else name)
    except (ImportError, AttributeError, ValueError) as error:
        near = difflib.get_close_matches(plain, KNOWN, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(
            f"no data set {name!r}{hint}: use one of {', '.join(KNOWN)}, or the dotted name of "
            f"your own module or function ({error})"
        ) from error
    maker, module = getattr(found, "make", found), _module(found)
    if not callable(maker) or not {"root", "split"} <= inspect.signature(maker).parameters.keys():
        raise ValueError(
            f"{name!r} is no data set: {module.__name__} has no make(root, split, ...); use one of "
            f"{', '.join(KNOWN)}, or your own"
        )
    return maker, getattr(module, "SPLITS", ())


def check(name: str, maker, options: dict, flag=KEY):
    """Raises ValueError for an option that a data set does not take, and for one that is missing.

    flag: the name of an option -> how it is set, for the message.
    """
    takes = inspect.signature(maker).parameters
    anything = any(p.kind == p.VAR_KEYWORD for p in takes.values())
    for option in options:
        if not anything and (option not in takes or option in ("root", "split")):
            others = ", ".join(other for other in takes if other not in ("root", "split"))
            raise ValueError(f"{flag(option)} is set, but {name} takes only {others or 'its root'}")
    for option, parameter in takes.items():
        given = option in options or option in ("root", "split")
        if parameter.kind == parameter.POSITIONAL_OR_KEYWORD and not given:
            if parameter.default is parameter.empty:
                what = described(maker, option)
                where = getattr(_module(maker), "WHERE", "")
                raise ValueError(
                    f"{name} requires {option}{what and f', {what}'}: add {flag(option)}=..."
                    f"{where and f'. {where}'}"
                )


def described(maker, option: str) -> str:
    """What the docstring of a data set, or else of its module's `make`, says of an argument."""
    for told in (maker, getattr(_module(maker), "make", None)):
        told = inspect.getdoc(told) or ""
        found = re.search(rf"^  {option}: (.+(?:\n    .+)*)", told, re.MULTILINE)
        if found:
            return re.split(r"\.(?:\s|$)", " ".join(found[1].split()))[0]
    return ""


def _module(found):
    return found if inspect.ismodule(found) else inspect.getmodule(found)
