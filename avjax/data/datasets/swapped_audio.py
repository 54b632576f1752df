"""A source in which some records have the audio of another record, on purpose.

It measures methods that find dubbed or irrelevant audio where the truth is known.  The swapped
records exchange their audio among themselves, so that each occurs once and none is revealed by
occurring twice.
"""

import dataclasses
import functools

import numpy as np

from avjax.data import example
from avjax.data.source import Source


def across_classes(source: Source, fraction: float = 0.3, seed: int = 0) -> Source:
    """Returns `source` with a `fraction` of its audio swapped, each for that of another class.

    A record without a label counts as a class of its own.  Every record gets `swapped`, True or
    False; which ones depends on the labels, `fraction` and `seed` only.

    Args:
      source: a Source.
      fraction: of the records, above 0, at most 1.
      seed: of the random choice.

    Raises:
      ValueError: more than half of the swapped records are of one class.
    """
    _check_fraction(fraction)
    rng = np.random.default_rng(seed)
    label = _labels(source)
    label = np.where(label < 0, label.max(initial=0) + 1 + np.arange(len(label)), label)
    swapped_rows = rng.permutation(len(source))[: round(fraction * len(source))]
    largest = int(np.unique(label[swapped_rows], return_counts=True)[1].max(initial=1))
    if len(swapped_rows) < 2 * largest:
        raise ValueError(
            f"of {len(swapped_rows)} records of {source.name} to be swapped {largest} are of one "
            f"class: "
            "no more than half may be; raise share, or use within_class"
        )
    other = rng.permutation(swapped_rows)
    for at in range(len(swapped_rows)):
        own_label = label[swapped_rows[at]]
        if label[other[at]] == own_label:
            # There is such a pair, as no class is more than half of these records.
            candidates = np.flatnonzero(
                (label[swapped_rows] != own_label) & (label[other] != own_label)
            )
            pair = [at, rng.choice(candidates)]
            other[pair] = other[pair[::-1]]
    return _with_swapped_audio(source, swapped_rows, other)


def within_class(source: Source, fraction: float = 0.3, seed: int = 0) -> Source:
    """Returns `source` with a `fraction` of the audio of each class swapped within the class.

    A class with fewer than two records to swap is unchanged.

    Args: as of `across_classes`.

    Raises:
      ValueError: no class has two records to swap.
    """
    _check_fraction(fraction)
    rng = np.random.default_rng(seed)
    label, swapped_rows, other = _labels(source), [], []
    for name in np.unique(label[label >= 0]):
        own_label = rng.permutation(np.flatnonzero(label == name))
        own_label = own_label[: round(fraction * len(own_label))]
        if len(own_label) > 1:
            swapped_rows.append(own_label)
            other.append(np.roll(own_label, 1))
    if not swapped_rows:
        raise ValueError(
            f"no class of {source.name} has two audio clips to swap at fraction={fraction}: raise "
            f"it, or use "
            "across_classes where there are no labels"
        )
    return _with_swapped_audio(source, np.concatenate(swapped_rows), np.concatenate(other))


def _check_fraction(fraction):
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction} of the records: use more than 0, at most 1")


def _labels(source):
    return np.array([record.get("label", -1) for record in source.records], int)


def _with_swapped_audio(source, rows, other):
    """`source` where each of `rows` has the audio of the record beside it in `other`."""
    partner = dict(zip(rows.tolist(), other.tolist()))
    records = tuple({**r, "swapped": i in partner} for i, r in enumerate(source.records))
    read = functools.partial(_read_swapped, source, partner)
    return dataclasses.replace(source, name=f"{source.name}-swapped", records=records, read=read)


def _read_swapped(source, partner, row, sampler, rngs):
    """Clips of record `row`, with the audio of the record it was swapped with, if it was.

    Frames and audio then have no common clock: each is sampled in its own file.
    """
    if row not in partner:
        return _read_original(source, row, sampler, rngs)
    video_clips, _ = _read_original(source, row, sampler._replace(num_samples=0), rngs)
    audio_clips, has_audio = _read_original(
        source, partner[row], sampler._replace(num_frames=0), rngs
    )
    return [
        {**video_clip, **audio_clip} for video_clip, audio_clip in zip(video_clips, audio_clips)
    ], has_audio


def _read_original(source, row, sampler, rngs):
    if source.read:
        return source.read(row, sampler, rngs)
    return example.decode_clips(source[row], sampler, rngs, require_audio=False)
