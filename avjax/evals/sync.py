"""Synchronization: can a net tell a clip's own audio from that of another video or time?

The pretext task and an evaluation of AVTS, https://arxiv.org/abs/1807.00230.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator

import jax
import numpy as np

from avjax.data import pipeline
from avjax.data.source import Source
from avjax.evals import metrics
from avjax.evals.suite import record_counts
from avjax.types import Evaluator, NotApplicable, TrainState

log = logging.getLogger(__name__)

SHIFTED = {
    "hard": "shifted",
    "super_hard": "overlapping",
}  # Kind of negative -> batch key of its audio.


def make(data: dict, batch_size: int = 64, seed: int = 0) -> Evaluator:
    """Synchronization accuracy and AUROC in percent, chance 50, for each kind of negative.

    Each clip makes two pairs, with its own audio and with other audio: of another record (easy), of
    another time of the file (hard), or of another time that overlaps it (super_hard); the last two
    if the data has them.  For each kind:

        <kind>/accuracy  Pairs classified correctly by a threshold on the score.  Records are
                         shuffled by `seed` and split into halves; the best threshold of one half
                         is evaluated on the other, and both results are averaged.
        <kind>/auroc     How often a matching pair scores above one that does not match.

    The score of a pair is the negative distance of its embeddings, or "match" [B] for nets that
    score pairs.  Nets without both modalities, as in the first stage of a chain, are not evaluated.
    A kind with fewer than two records is left out; records without audio are left out and counted.

    Args:
      data: dict(source=, clip_sampler=, transforms=), with
      avjax.data.clip_sampling.with_shifted_audio.
      batch_size: clips per batch of all hosts.
      seed: of the order of records.

    Returns:
      An Evaluator.
    """
    if data["clip_sampler"].varies:
        raise ValueError(
            "synchronization compares clips of different records, so each needs as many: use "
            "avjax.data.clip_sampling.with_shifted_audio as the clip_sampler"
        )
    if batch_size // jax.process_count() < 2 * data["clip_sampler"].num_clips:
        raise ValueError(
            f"batch_size={batch_size}: easy negatives need two records per batch: use "
            f"{2 * data['clip_sampler'].num_clips * jax.process_count()} or more"
        )
    if seed < 0:
        raise ValueError(f"seed={seed}: use 0 or more")

    def evaluate(embed: Callable, ts: TrainState) -> dict:
        found, read, with_audio = {}, set(), set()
        for batch in shuffled_batches(data, batch_size, seed):
            own, owned = pair_scores(embed(ts, batch))
            if own is None:
                log.warning("synchronization left out: the net does not have both modalities")
                return {}
            for kind, other in make_negatives(batch, data["clip_sampler"].num_clips).items():
                score, usable = pair_scores(embed(ts, other))
                assert score is not None  # The same net as for the clips' own audio.
                # Without padding, unreadable records and records without audio.
                row = np.flatnonzero(has_all_modalities(owned) & has_all_modalities(usable))
                pairs = owned["index"][row], own[row], score[row]
                found.setdefault(kind, []).append(pairs)
            read |= set(owned["index"][owned["mask"]].tolist())
            with_audio |= set(owned["index"][has_all_modalities(owned)].tolist())
        out = record_counts(
            "test", data, len(read), dict.fromkeys(("audio", "both"), len(with_audio))
        )
        for kind, pairs in found.items():
            index, own, other = (np.concatenate(part) for part in zip(*pairs))
            try:
                scores = accuracy_and_auroc(index, own, other, kind)
            except NotApplicable as error:
                where = data["source"].name
                log.warning("evaluation of %s: synchronization left out: %s", where, error)
                continue
            out |= {f"{kind}/{name}": value for name, value in scores.items()}
        return out

    return evaluate


def shuffled_batches(data: dict, batch_size: int, seed: int) -> Iterator[dict]:
    """Yields the clips of all records in a random order: sorted neighbors would be alike.

    Args:
      data: as of `make`.
      batch_size: clips per batch of all hosts.
      seed: of the order.
    """
    source, hosts = data["source"], jax.process_count()
    order = np.random.default_rng(seed).permutation(len(source)).tolist()
    reading = {name: value for name, value in data.items() if name != "max_unreadable"}

    def on_error(path, reason):
        log.warning("record of %s left out: %s: %s", source.name, path, reason)

    reading |= dict(source=permuted(source, order), shard=(jax.process_index(), hosts))
    return pipeline.eval_batches(**reading, batch_size=batch_size, on_error=on_error)


def permuted(source: Source, order: list[int]) -> Source:
    """Returns a source with its records in another order.

    Args:
      source: of N records.
      order: the N rows, permuted.
    """
    records = tuple(source[i] for i in order)
    read = source.read and functools.partial(_read_permuted, source.read, order)
    return dataclasses.replace(source, records=records, read=read)


def _read_permuted(read, order, row, sampler, rngs):
    return read(order[row], sampler, rngs)


def make_negatives(batch: dict, count: int) -> dict:
    """Makes batches with other audio in place of the clips' own.

    Args:
      batch: a Batch of NumPy arrays.
      count: clips per record, which are consecutive.

    Returns:
      {kind of negative: batch}.
    """
    # The `count` clips of a record are consecutive, so a roll by `count` gives another record.
    moved = {name: np.roll(batch[name], -count, axis=0) for name in ("audio", "mask", "has_audio")}
    apart = batch["index"] != np.roll(batch["index"], -count)
    mask = batch["mask"] & moved["mask"] & apart
    has_audio = batch["has_audio"] & moved["has_audio"]
    negatives = {"easy": batch | dict(audio=moved["audio"], mask=mask, has_audio=has_audio)}
    for kind, name in SHIFTED.items():
        if name in batch:
            negatives[kind] = batch | dict(audio=batch[name])
    return negatives


def pair_scores(out: dict) -> tuple[np.ndarray | None, dict]:
    """Scores the pairs of a batch.

    Args:
      out: result of `embed`.

    Returns:
      (scores [B], or None without both modalities; `out`).
    """
    if "match" in out:
        return np.asarray(out["match"], np.float64), out
    if not {"video", "audio"} <= out.keys():
        return None, out
    video, sound = (np.asarray(out[m]["embedding"], np.float64) for m in ("video", "audio"))
    return -np.linalg.norm(video - sound, axis=1), out


def has_all_modalities(out: dict) -> np.ndarray:
    """Returns which rows have all modalities, bool [B].

    Args:
      out: result of `embed`.
    """
    found = (value for value in out.values() if isinstance(value, dict) and "mask" in value)
    return np.logical_and.reduce([out["mask"], *(value["mask"] for value in found)])


def accuracy_and_auroc(
    index: np.ndarray, own: np.ndarray, other: np.ndarray, kind: str
) -> dict[str, float]:
    """Accuracy and AUROC in percent of matching and mismatching pairs.

    Args:
      index: int [N], records in random order; every other one is in the same half.
      own: float [N], scores of matching pairs.
      other: float [N], scores of mismatching pairs.
      kind: name for messages.

    Returns:
      {"accuracy", "auroc"}.

    Raises:
      NotApplicable: fewer than two records.
      ValueError: scores are not finite.
    """
    if not (np.isfinite(own).all() and np.isfinite(other).all()):
        raise ValueError(f"scores of {kind} pairs are not finite")
    records, place = np.unique(index, return_inverse=True)
    if len(records) < 2:
        raise NotApplicable(f"{kind} negatives need two records, and have {len(records)}")
    odd = place % 2 == 1
    right = []
    for half in (odd, ~odd):
        least = threshold(own[~half], other[~half])
        right.append(((own[half] >= least).mean() + (other[half] < least).mean()) / 2)
    return {"accuracy": 100 * float(np.mean(right)), "auroc": 100 * metrics.auroc(own, other)}


def threshold(own: np.ndarray, other: np.ndarray) -> float:
    """Returns the score from which on pairs are best classified as matching.

    Args:
      own, other: scores of matching and mismatching pairs, float [N].
    """
    scores = np.unique(np.concatenate([own, other]))
    cuts = np.concatenate([scores[:1], (scores[1:] + scores[:-1]) / 2, [np.inf]])
    missed, refused = (np.searchsorted(np.sort(x), cuts, side="left") for x in (own, other))
    return float(cuts[np.argmax(refused - missed)])
