"""The data sets of a downstream evaluation."""

from typing import Any, NamedTuple

from avjax.data import dataset
from avjax.data.source import Source
from avjax.downstream import own_data
from avjax.downstream.model import Model
from avjax.inference import preprocessing
from avjax.training import sources
from avjax.training.sources import find_datasets
from avjax.types import NotApplicable


class Split(NamedTuple):
    """One evaluation of a suite: an official split, or a fold.

    Attributes:
      suite: name of the suite.
      name: of the split, e.g. "1".
      data: dict(source=, root=, ...), arguments of `avjax.data.dataset`; source None for the data
        of the run's own evaluation.
      folder: where a protocol may keep what it needs to resume.
      features: folder of the feature cache.
      batch_size: clips per batch.
      workers: decoding processes; None for one per core.
    """

    suite: str
    name: str
    data: dict[str, Any]
    folder: str
    features: str
    batch_size: int
    workers: int | None


def open_source(split: Split, role: str, model: Model | None) -> Source:
    """Opens the records of a split.

    Args:
      split: the split.
      role: "train" or "test".
      model: the run, for data of its own evaluation; None for a baseline.

    Raises:
      ValueError, FileNotFoundError: files or arguments are missing; the message says which.
      NotApplicable: the run's own evaluation has no such records.
    """
    data = {name: value for name, value in split.data.items() if value is not None}
    if "source" in data:
        try:
            return dataset.make(**{"root": None, **data}, role=role)
        except (ValueError, FileNotFoundError) as error:
            text = str(error).replace("config.data.", f"config.{split.suite}.data.")
            raise type(error)(text) from error
    if data:
        raise ValueError(
            f"config.{split.suite}.data.{next(iter(data))} is set without a data set: add "
            f"--config.{split.suite}.data.source=folder, or the name of one"
        )
    if model is None:
        raise ValueError(f"config.{split.suite}.data.source is not set: baselines need a data set")
    return _own_source(role, model)


def _own_source(role: str, model: Model) -> Source:
    """Opens the records of the run's own evaluation."""
    key, spec = own_dataset(role, model.config)
    trust = own_data.check(spec["source"], f"{key}.source", model.folder, model.trust)
    return sources.open_source(spec["source"], f"{key}.source", {}, trust)


def own_dataset(role: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns (dotted key, spec) of a data set of the run's own evaluation.

    Args:
      role: "train" or "test".
      config: of the run.

    Raises:
      NotApplicable: it has no such records.
    """
    key, spec = preprocessing.evaluation_dataset(config)
    if role == "train":
        name = key.removesuffix("test").removeprefix("config.evals.") + "train"
        found = dict(find_datasets(config["evals"]))
        if name not in found:
            raise NotApplicable("the run's own evaluation has no train records")
        key, spec = f"config.evals.{name}", found[name]
    if not isinstance(spec["source"], dict):  # A ported run.
        raise NotApplicable("the run has no data of its own: give the suite some, data.source")
    return key, spec
