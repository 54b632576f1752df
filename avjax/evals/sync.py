"""Synchronization: does a net tell a clip's own sound from that of another video or time?

The task that AVTS learns by, and is judged by: https://arxiv.org/abs/1807.00230.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable

import jax
import numpy as np

from avjax.data import pipeline
from avjax.data.source import Source
from avjax.evals.suite import counts
from avjax.types import Evaluator, NotApplicable, TrainState

log = logging.getLogger(__name__)

SHIFTED = {"hard": "shifted", "super": "overlapping"}  # Kind of negative -> key of its sound.


def make(data: dict, batch_size: int = 64, seed: int = 0) -> Evaluator:
    """An evaluator of dict(source=, view=, transforms=), with avjax.data.clip_sampling.shifted.

    Each clip makes two pairs, with its own sound and with one that is not its own: sound of
    another record (easy), of another time of the file (hard), or of another time that overlaps
    it (super); the last where the view cuts it.  For each kind, in percent, chance 50:

        <kind>/accuracy  pairs told right by a threshold on the score.  The records are shuffled
                         by `seed` and parted into halves; the threshold is the best of one half
                         and is judged on the other, and the two results are averaged.
        <kind>/auroc     how often a pair that matches scores above one that does not.

    A net that does not both see and hear, as in the first stage of a chain, is not judged.
    The score of a pair is the distance of its embeddings, near is high; for nets that judge
    pairs themselves, and whose embed gives "match" [B], it is that number.  A kind of which fewer
    than two records have a pair is left out, and so are records without sound, which are counted.
    """
    if batch_size // jax.process_count() < 2 * data["view"].count:
        raise ValueError(
            f"batch_size={batch_size}: easy negatives need two records in each batch: use "
            f"{2 * data['view'].count * jax.process_count()} or more"
        )
    if seed < 0:
        raise ValueError(f"seed={seed}: use 0 or more")

    def evaluate(embed: Callable, ts: TrainState) -> dict:
        found, read, sounding = {}, set(), set()
        for batch in batches(data, batch_size, seed):
            own, owned = judged(embed(ts, batch))
            if own is None:
                log.warning("synchronization left out: the net does not both see and hear")
                return {}
            for kind, other in others(batch, data["view"].count).items():
                score, usable = judged(embed(ts, other))
                # Padding, unreadable records and those without sound are in neither.
                row = np.flatnonzero(paired(owned) & paired(usable))
                told = owned["index"][row], own[row], score[row]
                found.setdefault(kind, []).append(told)
            read |= set(owned["index"][owned["mask"]].tolist())
            sounding |= set(owned["index"][paired(owned)].tolist())
        out = counts("test", data, len(read), dict.fromkeys(("audio", "both"), len(sounding)))
        for kind, told in found.items():
            try:
                scores = rated(*(np.concatenate(part) for part in zip(*told)), kind)
            except NotApplicable as error:
                where = data["source"].name
                log.warning("evaluation of %s: synchronization left out: %s", where, error)
                continue
            out |= {f"{kind}/{name}": value for name, value in scores.items()}
        return out

    return evaluate


def batches(data, batch_size, seed):
    """The clips of all records in a random order: where classes are sorted, neighbors are alike."""
    source, hosts = data["source"], jax.process_count()
    order = np.random.default_rng(seed).permutation(len(source)).tolist()
    reading = {name: value for name, value in data.items() if name != "max_broken"}

    def on_fault(path, reason):
        log.warning("record of %s left out: %s: %s", source.name, path, reason)

    reading |= dict(source=reordered(source, order), shard=(jax.process_index(), hosts))
    return pipeline.evaluate(**reading, batch_size=batch_size, on_fault=on_fault)


def reordered(source: Source, order: list) -> Source:
    """`source` with its records in another order."""
    records = tuple(source[i] for i in order)
    read = source.read and functools.partial(_read, source.read, order)
    return dataclasses.replace(source, records=records, read=read)


def _read(read, order, row, view, rngs):
    return read(order[row], view, rngs)


def others(batch: dict, count: int) -> dict:
    """{kind of negative: the batch with that sound in place of the clips' own}."""
    # `count` clips of a record are consecutive: so many rows on is another record.
    moved = {name: np.roll(batch[name], -count, axis=0) for name in ("audio", "mask", "has_audio")}
    apart = batch["index"] != np.roll(batch["index"], -count)
    mask = batch["mask"] & moved["mask"] & apart
    has_audio = batch["has_audio"] & moved["has_audio"]
    made = {"easy": batch | dict(audio=moved["audio"], mask=mask, has_audio=has_audio)}
    for kind, name in SHIFTED.items():
        if name in batch:
            made[kind] = batch | dict(audio=batch[name])
    return made


def judged(out: dict):
    """(scores [B] of the pairs that `embed` judged, or None of a net of one sense; the rest)."""
    if "match" in out:
        return np.asarray(out["match"], np.float64), out
    if not {"video", "audio"} <= out.keys():
        return None, out
    video, sound = (np.asarray(out[m]["embedding"], np.float64) for m in ("video", "audio"))
    return -np.linalg.norm(video - sound, axis=1), out


def paired(out: dict) -> np.ndarray:
    """bool [B]: where all modalities of what `embed` made of a batch are there."""
    found = (value for value in out.values() if isinstance(value, dict) and "mask" in value)
    return np.logical_and.reduce([out["mask"], *(value["mask"] for value in found)])


def rated(index, own, other, kind) -> dict[str, float]:
    """{"accuracy", "auroc"} of scores own [N] of matching pairs and other [N] of the rest.

    index [N]: rows of records in random order; of those that are there the 1st, 3rd, ... are one
    half, the others the other.
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
    below = [np.searchsorted(np.sort(other), own, side=side) for side in ("left", "right")]
    auroc = np.mean(below) / len(other)  # Of ties, half.
    return {"accuracy": 100 * float(np.mean(right)), "auroc": 100 * float(auroc)}


def threshold(own, other) -> float:
    """The score from which on pairs are best taken to match."""
    scores = np.unique(np.concatenate([own, other]))
    cuts = np.concatenate([scores[:1], (scores[1:] + scores[:-1]) / 2, [np.inf]])
    missed, refused = (np.searchsorted(np.sort(x), cuts, side="left") for x in (own, other))
    return float(cuts[np.argmax(refused - missed)])
