"""A source of which some records have the sound of another record: dubbed on purpose.

What finds dubbed or irrelevant sound is so measured where the truth is known, and what learns
from such files is tried.  The swapped records exchange their sounds among themselves, so that
each sound occurs once and none betrays itself by occurring twice.
"""

import dataclasses
import functools

import numpy as np

from avjax.data import example


def across_classes(source, share=0.3, seed=0):
    """`source` with a `share` of its sounds swapped, each for one of another class.

    A record without a label counts as a class of its own.  Every record then has `swapped`,
    True or False; which are depends on the labels, `share` and `seed` only.
    """
    check(share)
    rng = np.random.default_rng(seed)
    label = _labels(source)
    label = np.where(label < 0, label.max(initial=0) + 1 + np.arange(len(label)), label)
    rows = rng.permutation(len(source))[: round(share * len(source))]
    largest = int(np.unique(label[rows], return_counts=True)[1].max(initial=1))
    if len(rows) < 2 * largest:
        raise ValueError(
            f"of {len(rows)} records of {source.name} to be swapped {largest} are of one class: "
            "no more than half may be; raise share, or use within_class"
        )
    other = rng.permutation(rows)
    for at in range(len(rows)):
        mine = label[rows[at]]
        if label[other[at]] == mine:
            # There is such a pair, as no class is more than half of these records.
            fit = np.flatnonzero((label[rows] != mine) & (label[other] != mine))
            pair = [at, rng.choice(fit)]
            other[pair] = other[pair[::-1]]
    return _swapped(source, rows, other)


def within_class(source, share=0.3, seed=0):
    """`source` with a `share` of the sounds of each class swapped among themselves.

    A class of which less than two sounds would be, keeps its own.
    """
    check(share)
    rng = np.random.default_rng(seed)
    label, rows, other = _labels(source), [], []
    for name in np.unique(label[label >= 0]):
        mine = rng.permutation(np.flatnonzero(label == name))
        mine = mine[: round(share * len(mine))]
        if len(mine) > 1:
            rows.append(mine)
            other.append(np.roll(mine, 1))
    if not rows:
        raise ValueError(
            f"no class of {source.name} has two sounds to swap at share={share}: raise it, or use "
            "across_classes where there are no labels"
        )
    return _swapped(source, np.concatenate(rows), np.concatenate(other))


def check(share):
    if not 0 < share <= 1:
        raise ValueError(f"share={share} of the records: use more than 0, at most 1")


def _labels(source):
    return np.array([record.get("label", -1) for record in source.records], int)


def _swapped(source, rows, other):
    """`source` where each of `rows` has the sound of the record beside it in `other`."""
    partner = dict(zip(rows.tolist(), other.tolist()))
    records = tuple({**r, "swapped": i in partner} for i, r in enumerate(source.records))
    read = functools.partial(_read, source, partner)
    return dataclasses.replace(source, name=f"{source.name}-swapped", records=records, read=read)


def _read(source, partner, row, view, rngs):
    """Clips of record `row`, the sound from the record it was swapped with, if it was.

    Picture and sound then have no common clock: each is where the view puts it in its own file.
    """
    if row not in partner:
        return _clips(source, row, view, rngs)
    pictures, _ = _clips(source, row, view._replace(samples=0), rngs)
    sounds, has_audio = _clips(source, partner[row], view._replace(frames=0), rngs)
    return [{**picture, **sound} for picture, sound in zip(pictures, sounds)], has_audio


def _clips(source, row, view, rngs):
    if source.read:
        return source.read(row, view, rngs)
    return example.decoded(source[row], view, rngs, strict=False)
