"""Features of clips, computed once per weights, data and clip recipe.

The folder of an entry is named by a hash; its key.json has the fields that were hashed, so that
people can read what it holds.  It may be deleted at any time.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import avjax
from avjax.data import clip_list, fingerprint, pipeline
from avjax.data.source import Source
from avjax.downstream import embedding
from avjax.downstream.model import Model
from avjax.downstream.recipe import Recipe, build_recipe
from avjax.runtime import run_lock
from avjax.runtime.atomic import write_atomic
from avjax.runtime.progress import progress

VERSION = 3  # Of the files; increase it if features change.

log = logging.getLogger(__name__)


class ClipFeatures(NamedTuple):
    """Features of up to W clips of each of N records, memory-mapped.

    Attributes:
      modalities: {"video": {"features": float32 [N, W, H], "embedding": [N, W, D], layer: [N, W,
        L], "mask": bool [N, W]}}; "mask" is False where a clip is unreadable or lacks the modality,
        or the record has fewer clips; these rows are 0.
      readable: bool [N].
      unreadable: [path, reason] of the files that could not be read.
      clips: int32 [N], clips of each record; 1 of an unreadable one.
      logits: float32 [N, W, C] of a classifier, 0 as above; None if the nets have none.
    """

    modalities: dict[str, dict[str, np.ndarray]]
    readable: np.ndarray
    unreadable: list[list[str]]
    clips: np.ndarray
    logits: np.ndarray | None


def clip_features(
    model: Model,
    source: Source,
    recipe: Recipe,
    folder: str | os.PathLike,
    layers: Mapping[str, Sequence[str]] | None = None,
    batch_size: int = 64,
    workers: int | None = None,
) -> ClipFeatures:
    """Computes the features of all clips of a source, or reads them from the cache.

    Args:
      model: the nets.
      source: the records.
      recipe: the clips.
      folder: of the cache.
      layers: {modality: names of layers} whose pooled outputs are added, see
        `avjax.nets.intermediates`.
      batch_size: clips per batch.
      workers: decoding processes; None for one per core.

    Raises:
      ValueError: features are not finite.
    """
    fields = key_fields(model, source, recipe, layers)
    entry = _entry(folder, fields)
    if not (entry / "key.json").is_file():
        with run_lock.wait_and_hold(folder, f"{entry.name}.lock", f"features of {source.name}"):
            if not (entry / "key.json").is_file():  # Another process has not written it meanwhile.
                part = Path(f"{entry}.part")
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                _extract(model, source, recipe, layers, batch_size, workers, part)
                write_atomic(part / "key.json", json.dumps(fields, indent=2))
                shutil.rmtree(entry, ignore_errors=True)
                os.replace(part, entry)
    return _read(entry)


def is_cached(model: Model, source: Source, recipe: Recipe, folder: str | os.PathLike) -> bool:
    """Returns whether features are in the cache; Args: as of `clip_features`."""
    return (_entry(folder, key_fields(model, source, recipe, None)) / "key.json").is_file()


def _entry(folder, fields):
    """The folder of an entry."""
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]
    return Path(folder) / digest


def key_fields(
    model: Model, source: Source, recipe: Recipe, layers: Mapping[str, Sequence[str]] | None
) -> dict[str, Any]:
    """Returns the fields that identify an entry: any change of them is another entry.

    Args: as of `clip_features`.
    """
    found = fingerprint.compute(source)
    times = [_modified(record["path"]) for record in source.records]
    text = json.dumps([found, times], sort_keys=True)
    return {
        "weights": {"run": model.folder, "step": model.step, "sha256": model.key},
        "data": {
            "name": source.name,
            "records": len(source),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        },
        "clips": recipe._asdict(),
        "layers": {modality: list(names) for modality, names in (layers or {}).items()},
        "version": [avjax.__version__, VERSION],
    }


def _modified(path):
    """Returns the time of the last change of a file; None if it is no file."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return None


def _extract(model, source, recipe, layers, batch_size, workers, folder: Path) -> None:
    """Writes the arrays of an entry."""
    built, failed = build_recipe(recipe, model.trust), []
    clips = clip_list.make(source, built.clip_sampler, workers)
    num_clips = built.clip_sampler.num_clips
    size = max(1, batch_size // num_clips) * num_clips
    batches = pipeline.eval_batches(
        source,
        *built,
        batch_size=size,
        workers=workers,
        clip_list=clips,
        on_error=lambda path, reason: failed.append([path, reason]),
    )
    shape, arrays = (len(source), int(clips.counts.max())), {}
    readable = np.zeros(shape, bool)
    embed = embedding.make_embed(model, layers)
    total = clip_list.num_batches(clips, num_clips, size)
    for batch in progress(batches, total, f"features of {source.name}"):
        out = embed(batch)
        rows = np.flatnonzero(batch["mask"])
        index = batch["index"][rows], batch["clip"][rows]
        readable[index] = True
        for name, value in _flatten(out):
            if name not in arrays:
                arrays[name] = _open(folder, name, (*shape, *value.shape[1:]), value.dtype)
            arrays[name][index] = value[rows]
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{name} of {model.name} are not finite on {source.name}")
        value.flush()
    for path, reason in failed:
        log.warning("%s left out: %s: %s", source.name, path, reason)
    np.save(folder / "readable.npy", readable.any(1))
    np.save(folder / "clips.npy", clips.counts)
    write_atomic(folder / "unreadable.json", json.dumps(failed, indent=2))


def _flatten(out: dict) -> Iterator[tuple[str, np.ndarray]]:
    """Yields ("audio.features", array) of the result of `embed`; rows without a modality are 0."""
    for modality, found in out.items():
        if modality == "logits":
            yield modality, found.astype(np.float32)
        if isinstance(found, dict):
            mask = found["mask"]
            yield f"{modality}.mask", mask
            for kind, value in found.items():
                if kind != "mask":
                    value = value.astype(np.float32)
                    yield f"{modality}.{kind}", np.where(mask[:, None], value, np.float32(0))


def _open(folder, name, shape, dtype):
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)


def _read(folder: Path) -> ClipFeatures:
    modalities = {}
    for path in sorted(folder.glob("*.*.npy")):
        modality, kind = path.stem.split(".", 1)
        modalities.setdefault(modality, {})[kind] = np.load(path, mmap_mode="r", allow_pickle=False)
    unreadable = json.loads((folder / "unreadable.json").read_text(encoding="utf-8"))
    readable, clips = (
        np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("readable", "clips")
    )
    logits = folder / "logits.npy"
    scores = np.load(logits, mmap_mode="r", allow_pickle=False) if logits.is_file() else None
    return ClipFeatures(modalities, readable, unreadable, clips, scores)
