"""Accuracy of a classifier, per clip and per video: scores are averaged over the clips of a record.

The protocol of UCF101, HMDB51 and Kinetics: ten evenly spaced clips, mean of their softmax; that of
CCL: all clips that cover a video.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from avjax.data import pipeline
from avjax.data.source import Source
from avjax.evals import metrics
from avjax.evals.suite import record_counts
from avjax.runtime.filenames import printable
from avjax.types import Evaluator, TrainState

log = logging.getLogger(__name__)

BEST = "best_layer"


class Totals(NamedTuple):
    """Sums over the clips of each of N records.

    Attributes:
      probability: sum of the softmax, float64 [N, C].
      hits: clips whose highest score is their class, float64 [N]; ties by their expected value.
      clips: number of clips, int64 [N].
    """

    probability: np.ndarray
    hits: np.ndarray
    clips: np.ndarray


def make(data: dict[str, Any], batch_size: int = 64) -> Evaluator:
    """Accuracy in percent of nets that give "logits" [B, C], or "logits/<layer>" of each layer.

    An evaluation returns, for several layers with "<layer>/" in front:

        clip@1           of the clips
        video@1          of the records, by the mean of the softmax over their clips
        video@5          the same, within the five highest; of more than five classes
        class_mean@1     mean over the classes of their video@1

    of several layers, "best_layer/..." of the layer with the highest video@1; numbers of records
    "test/records" and "test/dropped"; and the arrays, of the best layer:

        test/index       int32 [N], rows of the source
        test/label       int32 [N], -1 for records without a label, which do not count
        test/predicted   int32 [N]
        test/score       float32 [N], probability of the predicted class
        test/path        bytes [N], by os.fsencode
        test/classes     str [C]
        test/accuracy    float32 [C], video@1 of each class in percent; NaN without records
        test/confusion   int32 [C, C], records by true class (row) and predicted class

    Equal scores count by their expected value in a random order.  Nets without logits, as in the
    first stage of a chain, are not evaluated.

    Args:
      data: dict(source=, clip_sampler=, transforms=), with avjax.data.clip_sampling.uniform or
        sliding.
      batch_size: clips per batch of all hosts.

    Returns:
      An Evaluator.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: use 1 or more, e.g. 64")
    source = data["source"]
    label = np.array([record.get("label", -1) for record in source.records], np.int32)

    def evaluate(embed: Callable, ts: TrainState) -> dict:
        totals: dict[str, Totals] = {}
        for batch in pipeline.eval_batches(**reading(data, batch_size)):
            if not accumulate(embed(ts, batch), label, totals):
                log.warning("video accuracy left out: the net has no logits")
                return {}
        layers = {name: scores(totals[name], label) for name in totals}
        read = next(iter(totals.values())).clips > 0
        out = record_counts("test", data, int(read.sum()), {})
        labeled = read & (label >= 0)
        if not labeled.any():
            log.warning("video accuracy of %s left out: no record has a label", source.name)
            return out
        for name, (found, _) in layers.items():
            out |= {f"{name}/{metric}" if name else metric: v for metric, v in found.items()}
        best = max(layers, key=lambda name: layers[name][0]["video@1"])
        if len(layers) > 1:
            out |= {f"{BEST}/{metric}": value for metric, value in layers[best][0].items()}
        rows = np.flatnonzero(read)
        return out | report_arrays(layers[best][1][rows], label[rows], rows, source)

    return evaluate


def reading(data: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """Returns the arguments of `pipeline.eval_batches` for this host.

    Args:
      data, batch_size: as of `make`.
    """

    def on_error(path, reason):
        name = printable(path)
        log.warning("record of %s left out: %s: %s", data["source"].name, name, reason)

    kept = {name: value for name, value in data.items() if name != "max_unreadable"}
    shard = jax.process_index(), jax.process_count()
    return kept | dict(batch_size=batch_size, shard=shard, on_error=on_error)


def accumulate(out: dict, label: np.ndarray, totals: dict[str, Totals]) -> bool:
    """Adds the clips of a batch to the totals of their records; False without logits.

    Args:
      out: result of `embed`.
      label: int [N], of all records.
      totals: {layer, "" for the only one: its Totals}.

    Raises:
      ValueError: logits are not finite, or there are fewer than the classes.
    """
    mask = np.asarray(out["mask"], bool)
    index = np.asarray(out["index"])[mask]
    found = {name: value for name, value in out.items() if name.split("/")[0] == "logits"}
    for name, value in found.items():
        logits = np.asarray(value, np.float64)[mask]
        if not np.isfinite(logits).all():
            raise ValueError(f"{name} are not finite: evaluate an earlier checkpoint")
        if label.max(initial=-1) >= logits.shape[1]:
            raise ValueError(
                f"the net has {logits.shape[1]} classes, and the labels go up to {label.max()}: "
                f"set config.method.num_classes={label.max() + 1}"
            )
        layer = name.partition("/")[2]
        if layer not in totals:
            zeros = np.zeros((len(label), logits.shape[1])), np.zeros(len(label))
            totals[layer] = Totals(*zeros, np.zeros(len(label), np.int64))
        total, known = totals[layer], label[index] >= 0
        np.add.at(total.probability, index, softmax(logits))
        np.add.at(total.hits, index[known], metrics.hits(logits[known], label[index[known]], 1))
        np.add.at(total.clips, index, 1)
    return bool(found)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax of the rows of logits [N, C]."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def scores(total: Totals, label: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Accuracies of one classifier.

    Args:
      total: of N records.
      label: int [N].

    Returns:
      ({metric: percent}, {} without labels; mean of the softmax, float64 [N, C]).
    """
    mean = total.probability / np.maximum(total.clips, 1)[:, None]
    rows = np.flatnonzero((total.clips > 0) & (label >= 0))
    if not len(rows):
        return {}, mean
    top = metrics.accuracy(mean[rows], label[rows])
    out = {"clip@1": 100 * float(total.hits[rows].sum() / total.clips[rows].sum())}
    out |= {f"video@{name.removeprefix('top')}": value for name, value in top.items()}
    per_class = class_accuracy(mean[rows], label[rows])
    return out | {"class_mean@1": float(np.nanmean(per_class))}, mean


def class_accuracy(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Accuracy of each class in percent, float64 [C]; NaN for classes without records.

    Args:
      probability: float [N, C].
      label: int [N].
    """
    classes = probability.shape[1]
    hit = np.bincount(label, metrics.hits(probability, label, 1), classes)
    count = np.bincount(label, minlength=classes)
    return np.where(count > 0, 100 * hit / np.maximum(count, 1), np.nan)


def report_arrays(
    probability: np.ndarray, label: np.ndarray, index: np.ndarray, source: Source
) -> dict[str, np.ndarray]:
    """Returns the arrays of a report, as `make` lists them.

    Args:
      probability: float [N, C].
      label, index: int [N].
      source: of the records.
    """
    classes, known = probability.shape[1], label >= 0
    predicted = probability.argmax(1).astype(np.int32)
    confusion = np.zeros((classes, classes), np.int32)
    np.add.at(confusion, (label[known], predicted[known]), 1)
    names = [*source.classes, *map(str, range(len(source.classes), classes))][:classes]
    out = {
        "index": index.astype(np.int32),
        "label": label,
        "predicted": predicted,
        "score": probability[np.arange(len(label)), predicted].astype(np.float32),
        "path": np.array([os.fsencode(source[i].get("path", "")) for i in index]),
        "classes": np.array(names),
        "accuracy": class_accuracy(probability[known], label[known]).astype(np.float32),
        "confusion": confusion,
    }
    return {f"test/{name}": value for name, value in out.items()}
