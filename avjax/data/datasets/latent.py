"""Drawn pairs of vectors with known classes: an audio-visual world without pixels.

A record has a class and, around the center of its class, a latent vector that video and audio
share.  Each modality adds nuisances of its own, mixes both by a fixed nonlinear map, and adds
noise:

    shared  = center[class] + within * e          e ~ N(0, 1) [shared_dim]
    video   = tanh([shared, nuisance * n] A) B + noise * m          the same for audio, with other
                                                                     n, A, B and m

The latent variables that both modalities share are known, which bounds what any method can reach.
Millions of records take seconds.
"""

import contextlib
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from avjax.config import ranges
from avjax.data import record_arrays
from avjax.data.files import listing
from avjax.data.record_arrays import NumberedRecords
from avjax.data.source import Source
from avjax.runtime.atomic import atomic_replace

SPLITS = ("train", "val", "test")
MODALITIES = ("video", "audio")
BLOCK = 2**14  # Records that are drawn together: record i is the same for any number of records.
VERSION = 1  # In the names of files: raise it with any change to what is drawn.


def make(
    split: str,
    num_records: int,
    num_classes: int = 100,
    shared_dim: int = 16,
    nuisance_dim: int = 16,
    dim: int = 64,
    within: float = 0.7,
    nuisance: float = 1.0,
    noise: float = 0.3,
    seed: int = 0,
    root: str | None = None,
    device_bytes: int = record_arrays.DEVICE_BYTES,
) -> Source:
    """Returns a Source of drawn vectors.

    The first records of a split are the same for any `num_records`, and all splits have the same
    classes and maps.

    Args:
      split: "train", "val" or "test".
      num_records: N.
      num_classes: classes, equally likely.
      shared_dim: width of what video and audio share.
      nuisance_dim: width of what each has alone.
      dim: D, width of the vectors of each modality.
      within: standard deviation of the shared vector within a class; that of the centers is 1.
      nuisance: standard deviation of the nuisances.
      noise: standard deviation of the noise; that of the vectors without it is about 1.
      seed: of classes, maps and records.
      root: folder for the vectors, 8 N D bytes, which are then memory-mapped; None keeps them in
        memory.
      device_bytes: see `record_arrays.RecordArrays`.

    Returns:
      A Source with arrays, float32 [N, D] of video and of audio.

    Raises:
      ValueError: an argument is out of its range.
    """
    listing.check_choice("split", split, SPLITS)
    sizes = dict(
        num_records=num_records, num_classes=num_classes, shared_dim=shared_dim,
        nuisance_dim=nuisance_dim, dim=dim,
    )  # fmt: skip
    for name, value in sizes.items():
        ranges.check_integer(name, value, 1)
    deviations = dict(within=within, nuisance=nuisance, noise=noise)
    for name, value in deviations.items():
        ranges.check_number(name, value, minimum=0)
    ranges.check_integer("seed", seed, 0)
    facts = dict(split=split, **sizes, **deviations, seed=seed, version=VERSION)
    text = json.dumps(facts, sort_keys=True)
    label, values = _in_memory(text) if root is None else _on_disk(Path(root), text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    arrays = record_arrays.one_clip_each(values, digest, device_bytes=device_bytes)
    return Source(
        f"latent/{split}",
        NumberedRecords(f"latent/{split}", label),
        tuple(f"class {i}" for i in range(num_classes)),
        settings=facts,
        arrays=arrays,
    )


@functools.lru_cache(maxsize=3)
def _in_memory(text):
    """(label, values) of the facts in a JSON text, read-only."""
    facts = json.loads(text)
    label, values = _empty(facts, lambda name, shape, dtype: np.empty(shape, dtype))
    _fill(facts, label, values)
    for array in (label, *values.values()):
        array.flags.writeable = False
    return label, values


def _on_disk(root: Path, text):
    """`_in_memory` by memory-mapped files, which are written first unless they exist."""
    facts = json.loads(text)
    folder = root / f"{facts['split']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    paths = {name: folder / f"{name}.npy" for name in ("label", *MODALITIES)}
    if not all(path.is_file() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            parts = {n: stack.enter_context(atomic_replace(path)) for n, path in paths.items()}
            new = functools.partial(np.lib.format.open_memmap, mode="w+")
            label, values = _empty(
                facts, lambda name, shape, dtype: new(parts[name], dtype=dtype, shape=shape)
            )
            _fill(facts, label, values)
            for array in (label, *values.values()):
                array.flush()
    read = functools.partial(np.load, mmap_mode="r", allow_pickle=False)
    return np.asarray(read(paths["label"])), {name: read(paths[name]) for name in MODALITIES}


def _empty(facts, new) -> tuple[Any, dict[str, Any]]:
    size = facts["num_records"]
    values = {name: new(name, (size, facts["dim"]), np.float32) for name in MODALITIES}
    return new("label", (size,), np.int32), values


def _fill(facts, label, values):
    """Draws all records, block by block."""
    centers, maps = _world(facts)
    for start in range(0, len(label), BLOCK):
        part = slice(start, min(start + BLOCK, len(label)))
        classes, drawn = _draw(facts, centers, maps, start // BLOCK)
        label[part] = classes[: part.stop - start]
        for name in MODALITIES:
            values[name][part] = drawn[name][: part.stop - start]


def _world(facts):
    """(centers of the classes, {modality: (A, B)})."""
    rng = np.random.default_rng([facts["seed"], 0])
    width, dim = facts["shared_dim"] + facts["nuisance_dim"], facts["dim"]
    centers = rng.normal(size=(facts["num_classes"], facts["shared_dim"])).astype(np.float32)
    maps = {}
    for name in MODALITIES:
        first = rng.normal(size=(width, 2 * dim)) * width**-0.5 * 1.5
        second = rng.normal(size=(2 * dim, dim)) * (2 * dim) ** -0.5 * 1.5
        maps[name] = first.astype(np.float32), second.astype(np.float32)
    return centers, maps


def _draw(facts, centers, maps, block):
    """(classes [BLOCK], {modality: float32 [BLOCK, D]}) of a block of records."""
    rng = np.random.default_rng([facts["seed"], 1 + SPLITS.index(facts["split"]), block])

    def normal(width, deviation):
        return rng.standard_normal((BLOCK, width), np.float32) * np.float32(deviation)

    classes = rng.integers(facts["num_classes"], size=BLOCK)
    shared = centers[classes] + normal(facts["shared_dim"], facts["within"])
    drawn = {}
    for name, (first, second) in maps.items():
        parts = [shared, normal(facts["nuisance_dim"], facts["nuisance"])]
        mixed = np.tanh(np.concatenate(parts, 1) @ first) @ second
        drawn[name] = mixed + normal(facts["dim"], facts["noise"])
    return classes, drawn
