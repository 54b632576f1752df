"""A known data set by its name, one of one's own, or a prepared one: what configs take data from.

A name is a file of avjax.data.datasets ("kinetics", "ucf101", "ucf101.ucf51"), or the dotted name
of a module or function of one's own with the same arguments.  There is no registry.
"""

import inspect
import json
import logging
import os
from collections.abc import Callable

from avjax.data import dataset_args
from avjax.data.datasets import shards
from avjax.data.source import NoRecords, Source

# The splits that serve a purpose, the best first.  "probe" trains classifiers on the features.
ROLES = {
    "train": ("train", "unbalanced_train", "balanced_train"),
    "probe": ("balanced_train", "train"),
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

    A folder with a prepared.json is read with avjax.data.datasets.shards, whatever `source` says.

    Args:
      source: the name of the data set, see above; "shards" insists on a prepared one.
      root: the folder of the files, or the one that avjax.prepare wrote.
      role: a key of ROLES: the first of its splits that the data set knows.  For "test", the first
        that has records: a set without "test" is evaluated on "val".
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
    metadata = os.path.join(root, "prepared.json")
    if os.path.exists(metadata) or source.removeprefix("avjax.data.datasets.") == "shards":
        return _prepared(root, metadata, role, chosen, options)
    said = f"config.data.source={source}"
    maker, splits = dataset_args.maker(source, said)
    _refuse_others(said, maker, options)
    dataset_args.require(said, maker, options, KEY)
    wanted = (chosen,) if chosen else _of(role, splits, source)
    return _first(role, wanted, lambda split: maker(root, split, **options))


def _prepared(root, metadata, role, chosen, options):
    _refuse_others(f"{root}, which is prepared,", shards.make, options)
    if "fold" in options and "splits" not in options:
        raise ValueError(
            f"config.data.fold is set, but the splits of {root} were chosen by avjax.prepare "
            "(--set fold=N): leave it out, or prepare that fold into another folder"
        )
    there = ROLES[role]
    if not chosen and "splits" not in options and os.path.exists(metadata):
        with open(metadata, encoding="utf-8") as file:
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
    """The Source of the first split; for tests, of the first that has records.

    Only what is trained on must be there: without the others no evaluation is made.
    """
    failed = None
    for split in splits if role == "test" else splits[:1]:
        try:
            source = build(split)
        except (NoRecords, FileNotFoundError) as error:
            failed = failed or error
            continue
        if failed:
            logging.getLogger(__name__).info("%s is used instead: %s", source.name, failed)
        return source
    raise failed if role == "train" else NoRecords(str(failed)) from failed


def _refuse_others(said: str, maker: Callable, options: dict) -> None:
    """Raises ValueError for options that a data set does not take."""
    takes = inspect.signature(maker).parameters
    if any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        return
    known = [name for name in takes if name not in dataset_args.GIVEN]
    if others := [name for name in options if name not in known]:
        raise ValueError(
            f"{KEY(others[0])} is set, but {said} takes only {', '.join(known) or 'root'}"
        )
