"""Descriptors of the clips of whole videos, brought to one length.

A clip of these transforms is a whole video: "<modality>_features" float [n, D], descriptors of its
n clips in order of time; n differs by video.  The transforms return the same keys with [N, D],
zeros after the last clip, and "valid_clips" bool [N].  The clip sampler is
`avjax.data.clip_sampling.stored`.
"""

from collections.abc import Callable, Mapping

import numpy as np

from avjax.config import ranges

VALID = "valid_clips"
Transform = Callable[[dict, np.random.Generator], dict]


def random_window(num_clips: int, widths: Mapping[str, int], min_clips: int = 1) -> Transform:
    """Of longer videos, `num_clips` consecutive clips at a random place; for training.

    Args:
      num_clips: N.
      widths: {modality: D}.
      min_clips: a shorter video repeats its last clip until it has so many.
    """

    # Reference: N is random in each batch, 200 to 500, which would compile a program for each.
    def choose(n, rng):
        start = rng.integers(0, max(n - num_clips, 0) + 1)
        return np.arange(start, min(start + num_clips, n))

    return _transform(choose, num_clips, widths, min_clips)


def evenly_spaced(num_clips: int, widths: Mapping[str, int], min_clips: int = 1) -> Transform:
    """Of longer videos, `num_clips` evenly spaced clips, the first and last included.

    Args: as of `random_window`.
    """

    def choose(n, rng):
        return np.arange(n) if n <= num_clips else np.linspace(0, n - 1, num_clips).astype(int)

    return _transform(choose, num_clips, widths, min_clips)


def _transform(choose, num_clips, widths, min_clips):
    """A transform; choose: (n, rng) -> int [m], the clips of a video of n that are used."""
    ranges.check_integer("num_clips", num_clips)
    ranges.check_integer("min_clips", min_clips, 1, num_clips)
    if not widths:
        raise ValueError('widths={}: give the width of each modality, e.g. {"image": 512}')

    def transform(example, rng):
        example = dict(example)
        keys = {f"{name}_features": width for name, width in widths.items()}
        if not keys.keys() & example.keys():  # Padding of a last batch.
            zeros = {key: np.zeros((num_clips, d), np.float32) for key, d in keys.items()}
            return example | zeros | {VALID: np.zeros(num_clips, bool)}
        _check(example, keys)
        rows = choose(len(example[next(iter(keys))]), rng)
        rows = np.append(rows, np.repeat(rows[-1], max(0, min_clips - len(rows))))
        for key, width in keys.items():
            padded = np.zeros((num_clips, width), np.float32)
            padded[: len(rows)] = example[key][rows]
            example[key] = padded
        return example | {VALID: np.arange(num_clips) < len(rows)}

    return transform


def _check(example, keys):
    """Raises ValueError unless the example has all keys, with widths {key: D} and one length."""
    if missing := [key for key in keys if key not in example]:
        raise ValueError(f"widths name {missing[0]!r}, and the video has {sorted(example)}")
    for key, width in keys.items():
        if example[key].ndim != 2 or example[key].shape[1] != width or not len(example[key]):
            raise ValueError(
                f"{key} {example[key].shape} of a video: widths say [clips, {width}], one clip or "
                "more"
            )
    if len({len(example[key]) for key in keys}) > 1:
        sizes = ", ".join(f"{key} {len(example[key])}" for key in keys)
        raise ValueError(f"modalities of a video with different numbers of clips: {sizes}")
