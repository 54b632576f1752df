"""Features of a data set by the nets of a run, as a data set: computed once, then read as vectors.

The nets stay as they are (locked towers), so that only heads are trained on them, with batches of
any size.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from avjax.data import record_arrays
from avjax.data.record_arrays import RecordArrays
from avjax.data.source import NoRecords, Source
from avjax.downstream import feature_cache, model as models, recipe as recipes
from avjax.downstream.feature_cache import ClipFeatures

REPRESENTATIONS = ("features", "embedding")
MODALITIES = ("video", "audio")


def make(
    source: Source,
    run: str | None,
    root: str,
    video: str = "features",
    audio: str = "features",
    num_clips: int = 10,
    batch_size: int = 64,
    workers: int | None = None,
    untrained: bool = False,
    trust: Sequence[str] = (),
    device_bytes: int = record_arrays.DEVICE_BYTES,
) -> Source:
    """Returns a Source of the vectors of the clips of another source.

    Clips are uniformly spaced and preprocessed as in the evaluation of the run; in training a
    random one of a record is taken.  Clips without video or without audio, and records without any
    other clip, are left out.

    Args:
      source: the records, of files.
      run: folder of a run of avjax or of ported weights with both modalities.
      root: folder for the features, which are computed once for the same weights, files and clips.
      video, audio: "features" of the encoder, or "embedding" of the head, for a tower that is
        locked with its head.
      num_clips: clips per record.
      batch_size: clips per batch while the features are computed.
      workers: decoding processes; None for one per core.
      untrained: the same nets with random weights, for comparison.
      trust: packages that the config of the run may name beside those of avjax and optax.
      device_bytes: see `record_arrays.RecordArrays`.

    Raises:
      ValueError: run is not set, an argument is wrong, or the run lacks a modality.
      FileNotFoundError: there is no such run.
      NoRecords: no record has both modalities.
    """
    if not run:
        raise ValueError(f"run={run!r}: name the folder of the run whose nets compute the features")
    kinds = {"video": video, "audio": audio}
    if wrong := [name for name, kind in kinds.items() if kind not in REPRESENTATIONS]:
        raise ValueError(f"{wrong[0]}={kinds[wrong[0]]!r}: use features or embedding")
    model = models.open_run(run, trust=trust)
    model = models.untrained(model) if untrained else model
    recipe = recipes.recipe_of(
        model.config, None, {"num_clips": num_clips}, trust, "avjax.data.clip_sampling.uniform"
    )
    found = feature_cache.clip_features(model, source, recipe, root, None, batch_size, workers)
    if lacking := [name for name in MODALITIES if name not in found.modalities]:
        raise ValueError(f"run={run}: its nets give no {lacking[0]}; use a run with both towers")
    fields = feature_cache.key_fields(model, source, recipe, None)
    return _source(source, found, kinds, json.dumps([fields, kinds]), device_bytes)


def _source(
    source: Source, found: ClipFeatures, kinds: Mapping[str, str], facts: str, device_bytes: int
) -> Source:
    """The Source of the records with clips that have both modalities."""
    valid = np.logical_and.reduce([found.modalities[name]["mask"] for name in MODALITIES])
    kept = np.flatnonzero(valid.any(1))
    if not len(kept):
        raise NoRecords(f"no record of {source.name} has both video and audio")
    count = valid[kept].sum(1).astype(np.int32)
    rows = np.flatnonzero(valid.ravel()).astype(np.int32)  # In the order of records and clips.
    values = {}
    for name, kind in kinds.items():
        value = found.modalities[name][kind]
        values[name] = value.reshape(-1, value.shape[-1])
    arrays = RecordArrays(
        values,
        dict.fromkeys(values, rows),
        np.cumsum(count) - count,
        count,
        hashlib.sha256(facts.encode()).hexdigest(),
        device_bytes,
    )
    left_out = len(source) - len(kept)
    note = f"{left_out:,} of {len(source):,} records of {source.name} lack video or audio"
    notes = (*source.notes, *((f"{note}: they are left out",) if left_out else ()))
    records = tuple(source[i] for i in kept.tolist())
    name = f"features of {source.name}"
    return Source(
        name, records, source.classes, None, source.num_listed, source.num_quarantined, notes,
        arrays=arrays,
    )  # fmt: skip
