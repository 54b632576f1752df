"""Mutations of media files: cut, bits flipped, spliced, repeated, headers overwritten."""

import functools
import re

import numpy as np

# Where fields of headers begin, in one container or another.
MARKS = re.compile(
    rb"ftyp|moov|mvhd|trak|tkhd|mdhd|elst|stsd|stts|ctts|stsc|stsz|stco|stss|mdat|moof|trun|avc1"
    rb"|mp4a|avcC|esds|RIFF|LIST|avih|strh|strf|movi|idx1|00dc|01wb|fmt |data|OggS|OpusHead|fLaC"
    rb"|ID3|Xing|\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|\x1c\x53\xbb\x6b"
)
VALUES = (0, 1, 2, 127, 255, 65535, 65536, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(paths, seed, number):
    """Returns (name, bytes) of a mutated file, determined by `seed` and `number`."""
    rng = np.random.default_rng([seed, number])
    one, two = (paths[int(rng.integers(len(paths)))] for _ in range(2))
    data, names = _bytes(one), []
    for _ in range(1 + int(rng.random() < 0.4)):
        name = list(MUTATIONS)[int(rng.integers(len(MUTATIONS)))]
        if len(data) > 16:
            data, names = MUTATIONS[name](data, rng, two), [*names, name]
    return f"{number:06d}_{'_'.join(names)}_{one.name}", bytes(data)


@functools.lru_cache(maxsize=256)
def _bytes(path):
    return path.read_bytes()


def _cut(data, rng, other):
    return data[: int(rng.integers(len(data)))]


def _flip(data, rng, other):
    data = bytearray(data)
    for place in rng.integers(0, len(data), 1 + int(len(data) * 10 ** rng.uniform(-6, -2))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def _splice(data, rng, other):
    other = _bytes(other)
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def _repeat(data, rng, other):
    low, high = np.sort(rng.integers(0, len(data), 2)).tolist()
    return data[:high] + data[low:high] * int(rng.integers(1, 4)) + data[high:]


def _remove(data, rng, other):
    low, high = np.sort(rng.integers(0, len(data), 2)).tolist()
    return data[:low] + data[min(high, low + 2000) :]


def _blank(data, rng, other):
    low, size = int(rng.integers(len(data))), int(rng.integers(1, 500))
    filler = bytes([int(rng.choice([0, 255]))])
    return data[:low] + filler * len(data[low : low + size]) + data[low + size :]


def _header(data, rng, other):
    """Overwrites fields that follow a mark."""
    data, marks = bytearray(data), [m.start() for m in MARKS.finditer(bytes(data))] or [0]
    for _ in range(1 + int(rng.integers(3))):
        at = int(rng.choice(marks)) + int(rng.integers(-4, 60))
        width = int(rng.choice([1, 2, 4, 8]))
        order = "big" if rng.random() < 0.5 else "little"
        value = int(rng.choice(VALUES)) if rng.random() < 0.7 else int(rng.integers(2**32))
        at = min(max(at, 0), len(data) - width)
        data[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, order)
    return data


def _swap(data, rng, other):
    """Exchanges two stretches between marks."""
    marks = [max(0, m.start() - 4) for m in MARKS.finditer(bytes(data))]
    if len(marks) < 4:
        return data
    a, b, c, d = (marks[i] for i in np.sort(rng.choice(len(marks), 4, replace=False)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


MUTATIONS = dict(
    cut=_cut, flip=_flip, splice=_splice, repeat=_repeat, remove=_remove, blank=_blank,
    header=_header, swap=_swap,
)  # fmt: skip
