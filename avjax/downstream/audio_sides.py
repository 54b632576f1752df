"""The records of a sound classification task, and the features of their windows."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from avjax.data.source import Source
from avjax.downstream import data
from avjax.downstream.data import Split
from avjax.downstream.model import Model
from avjax.evals.windows import WindowFeatures
from avjax.types import NotApplicable


class Extracted(NamedTuple):
    """Features of W windows of all R records of a source.

    Attributes:
      layers: {name: float32 [R, W, D]}.
      mask: bool [R, W], False where a file is unreadable or has no audio.
    """

    layers: dict[str, np.ndarray]
    mask: np.ndarray


def open_sides(split: Split, model: Model | None) -> dict[str, Source]:
    """Opens the records of a split.

    Args:
      split: the split.
      model: the run, for data of its own evaluation; None for a baseline.

    Returns:
      {"train", "test"}.
    """
    return {role: data.open_source(split, role, model) for role in ("train", "test")}


def extract_sides(
    sides: dict[str, Source], extract: Callable[[str, Source], Extracted], folds: bool
) -> dict[str, WindowFeatures]:
    """Extracts the features of both sides.

    Args:
      sides: {"train", "test"}.
      extract: (role, source) -> Extracted.
      folds: whether the splits are folds of the same records.  All records are then extracted as of
        each role, in one order, so that all folds share the cache.

    Returns:
      {"train", "test"}; without records that are unreadable, have no audio or no label.
    """
    joint = joint_source(sides) if folds and not any(s.read for s in sides.values()) else None
    return {
        role: window_features(extract(role, joint or source), joint or source, source)
        for role, source in sides.items()
    }


def joint_source(sides: dict[str, Source]) -> Source:
    """Returns the records of both sides in the order of their paths.

    Args:
      sides: {"train", "test"}.
    """
    records = [record for source in sides.values() for record in source.records]
    ordered = tuple(sorted(records, key=lambda r: (r["path"], r.get("start") or 0.0)))
    name = f"{sides['train'].name.split('/')[0]}/train and test"
    return dataclasses.replace(sides["train"], name=name, records=ordered)


def window_features(found: Extracted, source: Source, wanted: Source) -> WindowFeatures:
    """Returns the features of the labeled records of `wanted` that have a window.

    Args:
      found: of the records of `source`.
      source: records, among them those of `wanted`.
      wanted: records to select.

    Raises:
      NotApplicable: no record has a window.
    """
    place = {_key(record): row for row, record in enumerate(source.records)}
    rows = np.array([place[_key(record)] for record in wanted.records], np.int64)
    label = np.array([record.get("label", -1) for record in wanted.records], np.int32)
    kept = np.flatnonzero((label >= 0) & found.mask[rows].any(1))
    if not len(kept):
        raise NotApplicable(f"{wanted.name}: no labeled record has audio")
    records = [wanted.records[i] for i in kept]
    group = tuple(record.get("group") for record in records)
    return WindowFeatures(
        found.layers,
        rows[kept],
        found.mask[rows[kept]],
        label[kept],
        group if any(name is not None for name in group) else None,
        tuple(record["path"] for record in records),
        tuple(wanted.classes),
    )


def _key(record):
    return record["path"], record.get("start"), record.get("end")


def apply_classifiers(
    classifiers: dict[str, Callable[[WindowFeatures, WindowFeatures], dict[str, Any]]],
    sides: dict[str, WindowFeatures],
) -> dict[str, Any]:
    """Returns the metrics of classifiers, and the number of records.

    Args:
      classifiers: {name: (train, test) -> {metric: value or array}}; the metrics of the name ""
        have no name in front.  Arrays of others are left out.
      sides: {"train", "test"}.
    """
    out = {f"{role}/records": len(side.label) for role, side in sides.items()}
    for name, classify in classifiers.items():
        for key, value in classify(sides["train"], sides["test"]).items():
            if not name or not np.ndim(value):
                out[f"{name}/{key}" if name else key] = value
    return out
