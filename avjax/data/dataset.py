"""Opens a data set by name: a known one, your own, or a prepared one.

A name is a module of avjax.data.datasets ("kinetics", "ucf101", "ucf101.ucf51"), or the dotted
name of your own module or function with the same arguments.  There is no registry.
"""

import inspect
import json
import logging
import os
from collections.abc import Callable

from avjax.data import dataset_args
from avjax.data.datasets import shards
from avjax.data.source import NoRecords, Source
from avjax.runtime.regular_files import read_text

# The splits that serve a purpose, the best first.  "probe" trains classifiers on the features.
ROLES = {
    "train": ("train", "unbalanced_train", "balanced_train"),
    "probe": ("balanced_train", "train"),
    "test": ("test", "eval", "val"),
}
CONFIG_FLAG = "--config.data.{}".format


def make(
    source: str,
    root: str | None,
    role: str,
    train_split: str | None = None,
    test_split: str | None = None,
    **options,
) -> Source:
    """Returns the Source of one split of a data set, prepared or not.

    A folder with a prepared.json is read with avjax.data.datasets.shards, whatever `source` is.

    Args:
      source: name of the data set, see above; "shards" requires a prepared one.
      root: folder of the files, or the output folder of avjax.prepare.
      role: a key of ROLES; the first of its splits that the data set has is used.  For
        "test", the first one with records: "val" if there is no "test".
      train_split, test_split: the split to use instead, for "train" and "probe", and for
        "test".
      options: arguments of the data set, such as lists, fold or group; None is its default.

    Raises:
      ValueError: root is missing, or an option is unknown or missing.
      NoRecords, FileNotFoundError: files are missing; the text says where to get them.
    """
    if root is None:
        raise ValueError(f"config.data.root is not set: add {CONFIG_FLAG('root')}=DIR")
    options = {name: value for name, value in options.items() if value is not None}
    requested = test_split if role == "test" else train_split
    metadata = os.path.join(root, "prepared.json")
    if os.path.exists(metadata) or source.removeprefix("avjax.data.datasets.") == "shards":
        return _open_prepared(root, metadata, role, requested, options)
    label = f"config.data.source={source}"
    maker, splits = dataset_args.resolve_dataset(source, label)
    _check_options(label, maker, options)
    dataset_args.require_arguments(label, maker, options, CONFIG_FLAG)
    candidates = (requested,) if requested else _splits_for_role(role, splits, source)
    return _first_available(role, candidates, lambda split: maker(root, split, **options))


def _open_prepared(root, metadata, role, requested, options):
    _check_options(f"{root}, which is prepared,", shards.make, options)
    if "fold" in options and "splits" not in options:
        raise ValueError(
            f"config.data.fold is set, but the splits of {root} were chosen by avjax.prepare "
            "(--set fold=N): leave it out, or prepare that fold into another folder"
        )
    candidates = ROLES[role]
    if not requested and "splits" not in options and os.path.exists(metadata):
        splits = json.loads(read_text(metadata))["splits"]
        candidates = _splits_for_role(role, splits, root)
    candidates = (requested,) if requested else candidates
    return _first_available(role, candidates, lambda split: shards.make(root, split, **options))


def _splits_for_role(role, splits, source):
    """The data set's splits among those of `role`; without SPLITS, all of the role."""
    found = tuple(split for split in ROLES[role] if split in splits or not splits)
    if not found:
        key = CONFIG_FLAG("test_split" if role == "test" else "train_split")
        raise NoRecords(f"{source} has only the splits {', '.join(splits)}: set {key}=NAME")
    return found


def _first_available(role, splits, build):
    """The Source of the first split; for tests, of the first that has records.

    Only training data are required: without the others no evaluation is made.
    """
    first_error = None
    for split in splits if role == "test" else splits[:1]:
        try:
            source = build(split)
        except (NoRecords, FileNotFoundError) as error:
            first_error = first_error or error
            continue
        if first_error:
            logging.getLogger(__name__).info("%s is used instead: %s", source.name, first_error)
        return source
    assert first_error is not None  # There is a split, and no source of it.
    raise first_error if role == "train" else NoRecords(str(first_error)) from first_error


def _check_options(label: str, maker: Callable, options: dict) -> None:
    """Raises ValueError for options that a data set does not take."""
    parameters = inspect.signature(maker).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    accepted = [name for name in parameters if name not in dataset_args.IMPLICIT_ARGUMENTS]
    if unknown := [name for name in options if name not in accepted]:
        raise ValueError(
            f"{CONFIG_FLAG(unknown[0])} is set, but {label} takes only "
            f"{', '.join(accepted) or 'root'}"
        )
