"""The folder of results: one file per cell of the table, written as soon as it is known.

OUT/suites/<suite>.json                    title, splits, headline, published values, error
OUT/models/<model>.json                    name, kind, folder, step
OUT/cells/<model>/<suite>/<split>.json     metrics, records, seconds, or why it is empty
OUT/cells/<model>/<suite>/<split>.npz      labels, predictions, confusion matrix, if any
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from avjax.runtime.atomic import atomic_replace, write_atomic
from avjax.runtime.regular_files import read_text


def safe_name(name: str) -> str:
    """Returns a name with every character that may not be in a file name replaced by "_"."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_.") or "_"


def cell_path(out: str | os.PathLike, model: str, suite: str, split: str) -> Path:
    """Returns the JSON file of a cell.

    Args:
      out: folder of results.
      model, suite, split: names of the row, the suite and the split.
    """
    return Path(out) / "cells" / safe_name(model) / safe_name(suite) / f"{safe_name(split)}.json"


def read_cell(path: Path, key: str) -> dict[str, Any] | None:
    """Returns a cell that is complete and has this key; None for any other.

    Args:
      path: its JSON file.
      key: as of `cell_key`.
    """
    if not path.is_file():
        return None
    try:
        cell = json.loads(read_text(path))
    except ValueError:  # Not complete: it is computed again.
        return None
    return cell if isinstance(cell, dict) and cell.get("key") == key else None


def cell_key(**fields: Any) -> str:
    """Returns a hash of everything that a cell depends on.

    Args:
      fields: values of JSON.
    """
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()


def write_cell(
    path: Path, key: str, found: dict[str, Any], coverage: str, seconds: float, left_out: str = ""
) -> None:
    """Writes a cell: scalars as metrics, arrays into the file beside it.

    Args:
      path: its JSON file.
      key: as of `cell_key`.
      found: {metric: value} and {name: array}.
      coverage: how many of the listed files were found.
      seconds: that it took.
      left_out: why the cell is empty, if it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        name: np.asarray(value) for name, value in found.items() if np.ndim(value)
    }
    metrics = {name: float(value) for name, value in found.items() if not np.ndim(value)}
    counts = {role: metrics.pop(f"{role}/records", None) for role in ("train", "test")}
    if arrays:
        with atomic_replace(path.with_suffix(".npz")) as part, open(part, "wb") as file:
            np.savez_compressed(file, **arrays)
    cell = dict(metrics=metrics, **counts, coverage=coverage, seconds=seconds, left_out=left_out)
    write_atomic(path, json.dumps({"key": key, **cell}, indent=2))


def write_suite(out: str | os.PathLike, name: str, suite: dict[str, Any], error: str) -> None:
    """Writes what is known of a suite.

    Args:
      out: folder of results.
      name: of the suite.
      suite: its config.
      error: why it could not be evaluated, or "".
    """
    fields = {
        "title": suite["title"],
        "splits": split_names(suite),
        "headline": suite["headline"],
        "published": list(suite.get("published") or ()),
        "error": error,
    }
    path = Path(out) / "suites" / f"{safe_name(name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(fields, indent=2))


def write_model(out: str | os.PathLike, name: str, kind: str, folder: str, step: int) -> None:
    """Writes what is known of a row.

    Args:
      out: folder of results.
      name: of the row.
      kind: "trained", "untrained" or "classical".
      folder: of the run, or "".
      step: training steps.
    """
    path = Path(out) / "models" / f"{safe_name(name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(dict(name=name, kind=kind, folder=folder, step=step), indent=2))


def split_names(suite: dict[str, Any]) -> list[str]:
    """Returns the names of the splits of a suite: the values of its key, or "all".

    Args:
      suite: its config; "splits" is {key of data: values}, or empty.
    """
    return [str(value) for values in (suite.get("splits") or {}).values() for value in values] or [
        "all"
    ]
