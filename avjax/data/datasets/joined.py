"""Long videos joined on the fly from short labelled clips; nothing is stored.

One clip, or a few of the same class, is put among clips of other classes, which are never a label.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from avjax.config import ranges
from avjax.data import clip_times, example
from avjax.data.clip_reading import read_clips
from avjax.data.media.media_file import Info
from avjax.data.source import Source


def make(
    source: Source, others: Sequence[str], num_videos: int, num_parts: int = 24,
    num_moments: int = 1, part_seconds: float = 5.0, seed: int = 0,
) -> Source:  # fmt: skip
    """Returns a Source of long videos of `num_parts` clips, each of `part_seconds`.

    Video `i` has the class of its moments; classes take turns.  Its parts depend on (seed, i) and
    on the records of `source` only.  A record has `seconds` and `moments`, ((start, end), ...).  A
    clip shorter than its part ends in silence, and its frames repeat.

    Args:
      source: short clips with labels.
      others: names of the classes whose clips are the rest of each video; they are no labels here.
      num_videos: how many.
      num_parts: clips of a video.
      num_moments: clips of the video's class among them.
      part_seconds: of each clip from its start, at most.
      seed: of the choice.

    Raises:
      ValueError: an argument is out of its range, or classes lack records.
    """
    ranges.check_integer("num_videos", num_videos)
    ranges.check_integer("num_parts", num_parts, 2)
    ranges.check_integer("num_moments", num_moments, 1, num_parts)
    ranges.check_number("part_seconds", part_seconds, above=0)
    ranges.check_integer("seed", seed, 0)
    classes, rest, of_class = divide(source, others)
    records = tuple(
        _record(source, i, classes, rest, of_class, num_parts, num_moments, part_seconds, seed)
        for i in range(num_videos)
    )
    read = functools.partial(_read, source, records, part_seconds)
    return dataclasses.replace(
        source, name=f"{source.name}-joined", records=records, classes=classes, read=read,
        num_listed=None, num_quarantined=0,
    )  # fmt: skip


def labelled(source: Source, others: Sequence[str]) -> Source:
    """Returns the short clips of the classes that are labels in `make`, with the same labels.

    Args:
      source, others: as of `make`.
    """
    classes, _, of_class = divide(source, others)
    rows = [(int(row), label) for label, rows in of_class.items() for row in rows]
    records = tuple({**source[row], "label": label, "row": row} for row, label in rows)

    def read(row, sampler, rngs):
        inner = records[row]["row"]
        if source.read:
            return source.read(inner, sampler, rngs)
        return example.decode_clips(source[inner], sampler, rngs, False)

    return dataclasses.replace(
        source, name=f"{source.name}-labelled", records=records, classes=classes, read=read,
        num_listed=None, num_quarantined=0,
    )  # fmt: skip


def divide(
    source: Source, others: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray, dict[int, np.ndarray]]:
    """Divides the records of a source.

    Args:
      source, others: as of `make`.

    Returns:
      (names of the classes that are labels, rows of the others, {new label: its rows}).

    Raises:
      ValueError: a name is no class, or one of both sides has no record.
    """
    if isinstance(others, str) or not others or not set(others) < set(source.classes):
        raise ValueError(
            f"others={others!r}: name some of the classes of {source.name}, not all: "
            f"{', '.join(source.classes)}"
        )
    label = np.array([record.get("label", -1) for record in source.records])
    classes = tuple(name for name in source.classes if name not in others)
    rest = np.flatnonzero(np.isin(label, [source.classes.index(name) for name in others]))
    of_class = {
        new: np.flatnonzero(label == source.classes.index(name)) for new, name in enumerate(classes)
    }
    of_class = {new: rows for new, rows in of_class.items() if len(rows)}
    if not len(rest) or not of_class:
        what = "one of others" if not len(rest) else "one of the classes beside others"
        raise ValueError(f"{source.name} has no record of {what}: name other classes")
    return classes, rest, of_class


def _record(source, i, classes, rest, of_class, num_parts, num_moments, seconds, seed):
    """The record of video i."""
    rng = np.random.default_rng([seed, i])
    label = sorted(of_class)[i % len(of_class)]
    parts = rng.choice(rest, num_parts, replace=len(rest) < num_parts)
    at = np.sort(rng.choice(num_parts, num_moments, replace=False))
    own = of_class[label]
    parts[at] = rng.choice(own, num_moments, replace=len(own) < num_moments)
    moments = tuple((float(k * seconds), float((k + 1) * seconds)) for k in at)
    made_of = [[source[int(k)].get(name) for name in ("path", "start", "end")] for k in parts]
    name = hashlib.blake2b(json.dumps([seconds, made_of]).encode(), digest_size=12).hexdigest()
    return {
        "path": f"joined-{seed}/{classes[label]}/{i:06d}-{name}",
        "label": label, "seconds": num_parts * seconds, "moments": moments,
        "parts": tuple(map(int, parts)),
    }  # fmt: skip


def _read(source, records, seconds, row, sampler, rngs):
    """The clips of a video, as `Source.read`."""
    parts, end = records[row]["parts"], records[row]["seconds"]
    info = Info(0.0, end, 0.0, end, sampler.fps, None, None, sampler.sample_rate)

    def part_clip(start, keys):
        """The clip of the part that is shown at `start`, with one of its streams."""
        number = min(int((start + clip_times.TIME_TOLERANCE) / seconds), len(parts) - 1)
        local = max(0.0, start - number * seconds)

        def sample(info, rng):
            low = clip_times.shared_span(info, keys["num_frames"], keys["num_samples"]).low
            return [(low + local, low + local)]

        one = sampler._replace(num_clips=1, varies=False, sample=sample, **keys)
        rng = [np.random.default_rng(0)]
        if source.read:
            return source.read(parts[number], one, rng)[0][0]
        return example.decode_clips(source[parts[number]], one, rng, False)[0][0]

    def read_frames(start):
        return part_clip(start, dict(num_frames=sampler.num_frames, num_samples=0))["video"]

    def read_audio(start):
        return part_clip(start, dict(num_frames=0, num_samples=sampler.num_samples))["audio"]

    return read_clips(sampler, info, rngs[0], read_frames, read_audio)
