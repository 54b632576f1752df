"""A suite: any number of scores of one data set, whose features are extracted once.

Decoding dominates the cost of an evaluation.  A suite reads its train and test records once,
averages the clips of each record, and gives the same `Features` to all scores.
"""

import logging
import os
from collections.abc import Callable

import jax
import numpy as np

from avjax.data import clip_list, pipeline
from avjax.data.source import NoRecords, Source
from avjax.evals import features, metrics
from avjax.evals.features import Features
from avjax.evals.thumbnails import add_thumbnails, gallery_arrays
from avjax.types import Evaluator, NotApplicable, TrainState

log = logging.getLogger(__name__)


# (train or None, test) -> {"v2a/recall@1": 12.5}.  A suite first calls its scores with empty
# `modalities`, before it reads a file: a score then checks labels and returns {}.  It raises
# types.NotApplicable if the records do not allow it, ValueError if the config does not.
# Records may lack a modality: `features.having` selects those that have it.
Score = Callable[[Features | None, Features], dict[str, float]]


def make(
    test: dict,
    scores: dict[str, Score],
    train: dict | None = None,
    batch_size: int = 64,
    thumbnails: int = 256,
) -> Evaluator:
    """Scores of `test`, with `train` for the scores that learn from labels.

    A score that the records do not allow is left out, with a line in the log.  An evaluation
    returns scalars "<score>/<metric>", numbers of records "<part>/records" and, of those with a
    modality, "<part>/<modality>/records", and the arrays of a report:

        test/<modality>/embedding  float32 [N, D]       gallery/row    int32 [M], rows of the source
        test/<modality>/mask       bool [N], see        gallery/frame  uint8 [M, 64, 64, 3]
                                   features.Features    gallery/sound  uint8 [M, 64, 64], of audio
        test/index                 int32 [N]
        test/label                 int32 [N]
        test/classes               str [C], if known
        test/path                  bytes [N], by os.fsencode
        test/swapped               bool [N], if known: has the audio of another record

    Args:
      test, train: dict(source=, clip_sampler=, transforms=, [workers=, max_unreadable=]).
      scores: {name: score}.
      batch_size: clips per batch of all hosts.
      thumbnails: records in the gallery.

    Returns:
      An Evaluator.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} of a suite: use 1 or more, e.g. 64")
    if thumbnails < 0:
        raise ValueError(f"thumbnails={thumbnails} of a suite: use 0 for none, or more")
    for part, data in (("train", train), ("test", test)):
        if data is not None and len(data["source"]) == 0:
            raise NoRecords(f"{part} source {data['source'].name!r} of a suite has no records")
    where = test["source"].name
    known_train = None if train is None else metadata(train["source"])
    known_records = known_train, metadata(test["source"])
    first = {name: try_score(where, name, score, *known_records) for name, score in scores.items()}
    applicable_scores = {name: score for name, score in scores.items() if first[name] is not None}

    def evaluate(embed: Callable, ts: TrainState) -> dict:
        parts, out = {}, {}
        for part, data in (("train", train), ("test", test)):
            if data is None:
                continue
            max_thumbnails = thumbnails if part == "test" else 0
            parts[part], gallery = extract_features(
                embed, ts, data, batch_size, max_thumbnails, part
            )
            out |= record_counts(
                part, data, len(parts[part].label), features.records_per_space(parts[part])
            )
        if not len(parts["test"].label):
            log.warning("evaluation of %s left out: no record could be used", where)
            return out
        for name, score in applicable_scores.items():
            found = try_score(where, name, score, parts.get("train"), parts["test"]) or {}
            out.update({f"{name}/{metric}": value for metric, value in found.items()})
        return out | report_arrays(parts["test"]) | gallery

    return evaluate


def try_score(
    where: str, name: str, score: Score, train: Features | None, test: Features
) -> dict[str, float] | None:
    """Applies a score; None, with a line in the log, if the records do not allow it.

    Args:
      where: name of the test source.
      name: name of the score, for messages.
      score: the score.
      train, test: features; train is None for suites without.

    Raises:
      ValueError: the score's own, with its name.
    """
    try:
        return score(train, test)
    except NotApplicable as error:
        log.warning("evaluation of %s: %s left out: %s", where, name, error)
        return None
    except ValueError as error:
        raise ValueError(f"scores.{name}: {error}") from error


def record_counts(part: str, data: dict, read: int, having: dict[str, int]) -> dict[str, int]:
    """Number of records read and not read.

    Args:
      part: "train" or "test".
      data: the data set.
      read: number of readable records.
      having: {modality, or "both" for all: number of records that have it}.

    Raises:
      RuntimeError: more are unreadable than `max_unreadable` allows.
    """
    source = data["source"]
    dropped = len(source) - read
    if dropped > data.get("max_unreadable", 1.0) * len(source):
        raise RuntimeError(
            f"{dropped} of {len(source)} records of {part} source {source.name!r} are broken, more "
            f"than max_unreadable = {data['max_unreadable']:.1%}: the log names them"
        )
    listed = {} if source.num_listed is None else {f"{part}/listed": source.num_listed}
    each = {f"{part}/{name}/records": count for name, count in having.items()}
    return {f"{part}/records": read, f"{part}/dropped": dropped, **each, **listed}


def metadata(source: Source) -> Features:
    """Returns what is known of a source without reading files: everything but the modalities."""
    label = np.array([r.get("label", -1) for r in source.records], np.int32)
    group = tuple(r.get("group") for r in source.records)
    group = group if any(g is not None for g in group) else None
    path = tuple(r.get("path", "") for r in source.records)
    swapped = None
    if any("swapped" in r for r in source.records):
        swapped = np.array([r.get("swapped", False) for r in source.records])
    index = np.arange(len(source), dtype=np.int32)
    return Features({}, label, index, group, source.classes, path, swapped)


def extract_features(
    embed: Callable, ts: TrainState, data: dict, batch_size: int, max_thumbnails: int, part: str
) -> tuple[Features, dict]:
    """Embeds every clip of a data set.

    Args:
      embed: as in types.Evaluator.
      ts: the state to evaluate.
      data: dict(source=, clip_sampler=, ...), as of `make`.
      batch_size: clips per batch of all hosts.
      max_thumbnails: maximum number of records in the gallery.
      part: "train" or "test", for messages.

    Returns:
      (features by record, arrays of the gallery).
    """
    source, sampler = data["source"], data["clip_sampler"]
    size, hosts = len(source), jax.process_count()
    # A host has the frames of its own share only, so the gallery of many hosts has fewer.
    chosen = set(np.linspace(0, size - 1, min(size, max_thumbnails)).astype(int).tolist())
    pictures, sums, clips = {}, {}, {"": np.zeros(size, np.int64)}

    def on_error(path, reason):
        log.warning("%s record of %s left out: %s: %s", part, source.name, path, reason)

    reading = {name: value for name, value in data.items() if name != "max_unreadable"}
    shard = jax.process_index(), hosts
    listed = clip_list.of_data(reading)
    batches = pipeline.eval_batches(
        **reading, batch_size=batch_size, shard=shard, on_error=on_error, clip_list=listed
    )
    total = clip_list.num_batches(listed, sampler.num_clips, batch_size, hosts)
    for step, batch in enumerate(batches, 1):
        add_thumbnails(batch, sampler.sample_rate, chosen - pictures.keys(), pictures)
        out = embed(ts, batch)
        accumulate(out, sums, clips)
        if step % max(1, total // 10) == 0:
            log.info("%s of %s: %d of %d batches", part, source.name, step, total)
    return mean_over_clips(sums, clips, source, part), gallery_arrays(pictures)


def accumulate(out: dict, sums: dict, clips: dict) -> None:
    """Adds the embedded clips to the sums and clip counts of their records.

    Args:
      out: result of `embed`.
      sums: {(modality, kind): float32 [N, D]}.
      clips: {"" for readable ones or modality: [N]}.
    """
    index, readable = np.asarray(out["index"]), np.asarray(out["mask"], bool)
    np.add.at(clips[""], index[readable], 1)
    for name, found in out.items():
        if not isinstance(found, dict):
            continue
        mask = readable & np.asarray(found.get("mask", True))
        np.add.at(clips.setdefault(name, np.zeros_like(clips[""])), index[mask], 1)
        for kind in ("features", "embedding"):
            value = np.asarray(found[kind], np.float32)[mask]
            if (name, kind) not in sums:
                sums[name, kind] = np.zeros((len(clips[""]), value.shape[-1]), np.float32)
            np.add.at(sums[name, kind], index[mask], value)


def mean_over_clips(sums: dict, clips: dict, source: Source, part: str) -> Features:
    """Averages over the clips of each record; embeddings are scaled to unit length.

    Args:
      sums, clips: as of `accumulate`.
      source: of the records.
      part: "train" or "test", for messages.

    Raises:
      ValueError: values are not finite.
    """
    kept = np.flatnonzero(clips[""])
    modalities = {}
    for (name, kind), value in sums.items() if len(kept) else ():
        count = clips[name][kept, None]
        value = value[kept] / np.maximum(count, 1).astype(np.float32)
        # Comparisons with NaN are false, so a diverged net would win every ranking.
        if not np.isfinite(value).all():
            broken = int((~np.isfinite(value).all(-1)).sum())
            raise ValueError(f"{kind} of {name} are not finite for {broken} {part} records")
        if kind == "embedding":
            value = metrics.l2_normalize(value)
        modalities.setdefault(name, {"mask": count[:, 0] > 0})[kind] = value
    return features.select_records(metadata(source), kept)._replace(modalities=modalities)


def report_arrays(test: Features) -> dict[str, np.ndarray]:
    """Returns the embeddings of a test set and the records they belong to, as `make` lists them."""
    out = {
        f"test/{name}/{kind}": m[kind]
        for name, m in test.modalities.items()
        for kind in ("embedding", "mask")
    }
    out |= {"test/index": test.index, "test/label": test.label}
    if test.path:  # Bytes take a quarter of what NumPy's text would.
        out["test/path"] = np.array([os.fsencode(path) for path in test.path])
    if test.swapped is not None:
        out["test/swapped"] = test.swapped
    return out | ({"test/classes": np.array(test.classes)} if test.classes else {})
