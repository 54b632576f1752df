"""The folder that a downstream evaluation writes: suites, models and the cells of their table.

suites/<suite>.json                    title, splits, headline metric, published results, error
models/<model>.json                    name, kind, folder, step
cells/<model>/<suite>/<split>.json     metrics, records read, or why there are none
cells/<model>/<suite>/<split>.npz      predictions, if the suite classifies
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avjax.downstream.results import safe_name
from avjax.runtime.regular_files import read_text

KINDS = ("trained", "untrained", "classical")  # In the order of the rows.


class Published(NamedTuple):
    """A published result: model, metric, value and its source, an address or text."""

    model: str
    metric: str
    value: float
    source: str


class Suite(NamedTuple):
    """A column of the table; `error` says why it could not be evaluated, else ""."""

    key: str
    title: str
    splits: tuple[str, ...]
    headline: str
    metrics: tuple[str, ...]
    published: tuple[Published, ...]
    error: str


class Model(NamedTuple):
    """A row of the table; `kind` is one of KINDS, `step` None if unknown."""

    key: str
    name: str
    kind: str
    folder: str
    step: int | None


class Cell(NamedTuple):
    """A model on a split of a suite; `left_out` says why it has no metrics, else "".

    `arrays` is the file of the predictions, or None.
    """

    metrics: Mapping[str, float]
    train: int | None
    test: int | None
    coverage: str
    seconds: float
    left_out: str
    arrays: Path | None


class Results(NamedTuple):
    """All of a folder; `problems` are files that could not be read, as sentences."""

    suites: Mapping[str, Suite]
    models: Mapping[str, Model]
    cells: Mapping[tuple[str, str, str], Cell]
    problems: Sequence[str]


def read(folder: Path) -> Results:
    """Reads the folder of an evaluation; damaged files become problems.

    Args:
      folder: as described above.

    Raises:
      FileNotFoundError: it is not a folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the --out of an evaluation")
    problems: list[str] = []
    suites = _read_each(folder, "suites", _suite, problems)
    models = _read_each(folder, "models", _model, problems)
    order = {kind: i for i, kind in enumerate(KINDS)}
    models = dict(sorted(models.items(), key=lambda m: (order.get(m[1].kind, len(KINDS)), m[0])))
    cells = {}
    for suite in suites.values():
        for model in models:
            for split in suite.splits:
                path = folder / "cells" / model / suite.key / f"{safe_name(split)}.json"
                if path.exists() and (cell := _read_file(path, folder, _cell, problems)):
                    cells[model, suite.key, split] = cell
    return Results(suites, models, cells, problems)


def _read_each(folder: Path, kind: str, make: Any, problems: list[str]) -> dict[str, Any]:
    found = {}
    for path in sorted((folder / kind).glob("*.json")):
        if (part := _read_file(path, folder, make, problems)) is not None:
            found[path.stem] = part
    return found


def _read_file(path: Path, folder: Path, make: Any, problems: list[str]) -> Any:
    try:
        return make(path, json.loads(read_text(path)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        problems.append(
            f"{path.relative_to(folder)} cannot be read ({type(error).__name__}: {error}): delete "
            "it and run the same command again"
        )
        return None


def _suite(path: Path, found: dict) -> Suite:
    published = tuple(
        Published(str(p["model"]), str(p["metric"]), float(p["value"]), str(p.get("source") or ""))
        for p in found.get("published", [])
    )
    return Suite(
        path.stem, str(found.get("title") or path.stem), tuple(map(str, found.get("splits", []))),
        str(found.get("headline") or ""), tuple(found.get("metrics", [])), published,
        str(found.get("error") or ""),
    )  # fmt: skip


def _model(path: Path, found: dict) -> Model:
    step = None if found.get("step") is None else int(found["step"])
    return Model(
        path.stem, str(found.get("name") or path.stem), str(found.get("kind") or ""),
        str(found.get("folder") or ""), step,
    )  # fmt: skip


def _cell(path: Path, found: dict) -> Cell:
    metrics = {str(name): float(value) for name, value in found.get("metrics", {}).items()}
    train, test = (
        None if found.get(part) is None else int(found[part]) for part in ("train", "test")
    )
    arrays = path.with_suffix(".npz")
    has_arrays = bool(metrics) and arrays.exists()  # An empty cell may have older ones.
    return Cell(
        metrics, train, test, str(found.get("coverage") or ""), float(found.get("seconds") or 0),
        str(found.get("left_out") or ""), arrays if has_arrays else None,
    )  # fmt: skip
