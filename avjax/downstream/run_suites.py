"""Runs suites on models: every cell of the table, each written as soon as it is done."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avjax.config.build import build
from avjax.data import fingerprint
from avjax.data.source import NoRecords, coverage
from avjax.downstream import data, results
from avjax.downstream.data import Split
from avjax.downstream.model import Model
from avjax.types import NotApplicable


class Options(NamedTuple):
    """What is the same for all cells.

    Attributes:
      out: folder of results.
      features: folder of the feature cache.
      batch_size: clips per batch.
      workers: decoding processes; None for one per core.
    """

    out: str
    features: str
    batch_size: int = 64
    workers: int | None = None


class Row(NamedTuple):
    """A row of the table.

    Attributes:
      name: of the row.
      key: a hash of what is evaluated.
      model: the run; None for a baseline.
      evaluate: split -> {metric: value or array}.
    """

    name: str
    key: str
    model: Model | None
    evaluate: Callable[[Split], dict[str, Any]]


def run(
    suites: dict[str, dict[str, Any]],
    models: Sequence[Model],
    options: Options,
    report: Callable[[str], object],
) -> dict[str, str]:
    """Evaluates all suites on all models; what is done already is not done again.

    Args:
      suites: {name: config}.
      models: the rows.
      options: folders and sizes.
      report: called with the folder of results after each suite.

    Returns:
      {name of a suite: why it could not be evaluated}.
    """
    errors = {}
    for model in models:
        results.write_model(options.out, model.name, model.kind, model.folder, model.step)
    for name, suite in suites.items():
        results.write_suite(options.out, name, suite, "")
        try:
            run_suite(name, suite, models, options)
        except (ValueError, OSError) as error:
            errors[name] = str(error)
            results.write_suite(options.out, name, suite, str(error))
            print(f"{name}: not evaluated: {error}", flush=True)
        report(options.out)
    return errors


def run_suite(name: str, suite: dict[str, Any], models: Sequence[Model], options: Options) -> None:
    """Evaluates one suite on all models.

    Raises:
      ValueError, OSError: the suite or its data are wrong or missing.
    """
    rows = make_rows(name, suite, models, options)
    for number, split_name in enumerate(results.split_names(suite)):
        for row in rows:
            path = results.cell_path(options.out, row.name, name, split_name)
            split = make_split(name, suite, number, str(path.with_suffix("")), options)
            run_cell(row, split, path, suite)


def make_rows(
    name: str, suite: dict[str, Any], models: Sequence[Model], options: Options
) -> list[Row]:
    """Returns the rows of a suite: the models, and the baselines of its config.

    Args: as of `run_suite`.
    """
    rows = []
    if models:
        protocol = build(suite["protocol"], f"config.{name}.protocol")
        rows = [Row(m.name, m.key, m, lambda split, m=m: protocol(m, split)) for m in models]
    for baseline, spec in (suite.get("baselines") or {}).items():
        evaluate = build(spec, f"config.{name}.baselines.{baseline}")
        key = results.cell_key(baseline=spec)
        results.write_model(options.out, baseline, "classical", "", 0)
        rows.append(Row(baseline, key, None, evaluate))
    if not rows:
        raise ValueError(f"suite {name} has no baselines: give a run to evaluate, --run DIR")
    return rows


def make_split(
    name: str, suite: dict[str, Any], number: int, folder: str, options: Options
) -> Split:
    """Returns one split of a suite.

    Args:
      name: of the suite.
      suite: its config.
      number: of the split.
      folder: where the protocol may keep files.
      options: folders and sizes.
    """
    values = [(key, value) for key, all_ in (suite.get("splits") or {}).items() for value in all_]
    own = dict([values[number]]) if values else {}
    return Split(
        name,
        results.split_names(suite)[number],
        {**suite["data"], **own},
        folder,
        options.features,
        options.batch_size,
        options.workers,
    )


def run_cell(row: Row, split: Split, path: Path, suite: dict[str, Any]) -> None:
    """Evaluates one cell, unless it is done.

    Args:
      row: of the table.
      split: of the suite.
      path: of the cell.
      suite: the config of the suite.
    """
    where = f"{split.suite}, split {split.name}, {row.name}"
    found, left_out, seen, start = {}, "", "", time.monotonic()
    try:
        test = data.open_source(split, "test", row.model)
        seen = coverage(test)
        key = results.cell_key(
            row=row.key,
            suite={name: suite.get(name) for name in ("protocol", "data", "clips")},
            split=split.name,
            data=fingerprint.compute(test),
        )
        if results.read_cell(path, key):
            print(f"{where}: done", flush=True)
            return
        print(f"{where}: {seen}", flush=True)
        found = row.evaluate(split)
    except NotApplicable as error:
        key, left_out = "", str(error)
    except NoRecords as error:
        raise ValueError(f"no records for split {split.name}: {error}") from error
    results.write_cell(path, key, found, seen, time.monotonic() - start, left_out)
    headline = found.get(suite["headline"])
    text = f"{suite['headline']} {headline:.2f}" if headline is not None else left_out or "done"
    print(f"{where}: {text}", flush=True)


def default_features(out: str | os.PathLike) -> str:
    """Returns the folder of the feature cache beside the results."""
    return os.path.join(out, "features")
