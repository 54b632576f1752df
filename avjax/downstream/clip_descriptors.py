"""A source of whole videos as descriptors of their clips, computed once by the nets of a run.

For methods that read a video as a row of vectors, such as `avjax.methods.skimming`.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from avjax.data.media.media_file import MediaError
from avjax.data.source import Source
from avjax.downstream import feature_cache, model, recipe
from avjax.downstream.feature_cache import ClipFeatures
from avjax.runtime import sharding

SAMPLER = "avjax.data.clip_grid.from_starts"
# Modality of a descriptor -> that of the nets.
MODALITIES = {"image": "video", "audio": "audio"}


def make(
    source: Source, run: str, clips: Mapping[str, Any], folder: str, batch_size: int = 64,
    workers: int | None = None, trust: Sequence[str] = (),
) -> Source:  # fmt: skip
    """Returns `source` whose clips are {"image_features", "audio_features"}, float32 [n, H].

    A record is a whole video; its row n is of its n-th clip.  Clips have the preprocessing of the
    run's evaluation, and begin at equal distances (`avjax.data.clip_grid`).  Descriptors are
    computed by `prepare`, which a run calls before it reads the first record, and are stored in
    `folder` by weights, data and clips, see `feature_cache`.  They are read from there: memory does
    not grow with the number or the length of the videos.

    The clip sampler is `avjax.data.clip_sampling.stored`, the transform one of
    `avjax.data.transforms.descriptors`.

    Args:
      source: of the videos.
      run: folder of a run with nets of video of one frame, of audio, or of both.
      clips: `clip_seconds`, and other arguments of `clip_grid.from_starts` that replace those of
        the run's evaluation.
      folder: of the feature cache.
      batch_size: clips per batch.
      workers: decoding processes; None for one per core.
      trust: packages that the run's config may name, beside parts of avjax and optax.
    """
    found: list[ClipFeatures] = []  # Empty until `prepare`.

    def prepare():
        if not found:
            with sharding.process_zero_first("descriptors"):
                found.append(compute(source, run, clips, folder, batch_size, workers, trust))

    read = functools.partial(_read, source, found)
    return dataclasses.replace(source, read=read, prepare=prepare)


def compute(
    source: Source, run: str, clips: Mapping[str, Any], folder: str, batch_size: int = 64,
    workers: int | None = None, trust: Sequence[str] = (),
) -> ClipFeatures:  # fmt: skip
    """Returns the features of all clips, from the cache if they are there; Args: as of `make`.

    Raises:
      FileNotFoundError: there is no such run.
      RuntimeError: this is a run of several processes, and they are not there.
    """
    nets = model.open_run(run, trust=trust)
    clip_recipe = recipe.recipe_of(nets.config, None, clips, trust, SAMPLER)
    cached = feature_cache.is_cached(nets, source, clip_recipe, folder)
    if jax.process_count() > 1 and not cached:
        raise RuntimeError(
            f"the descriptors of {source.name} are not in {folder}, and several processes cannot "
            "compute them together: start the run once in one process, then in several"
        )
    options = None, batch_size, workers
    return feature_cache.clip_features(nets, source, clip_recipe, folder, *options)


def _read(source, found, row, sampler, rngs):
    """The descriptors of a record, as `Source.read`."""
    if not found:
        raise RuntimeError(f"{source.name}: call prepare() of this source before reading it")
    (features,) = found
    if not features.readable[row]:
        path = source[row]["path"]
        reasons = dict(map(tuple, features.unreadable))
        raise MediaError(path, reasons.get(path, "has no clip that can be read"))
    known = {name: features.modalities.get(of) for name, of in MODALITIES.items()}
    count, has_audio = features.clips[row], "audio" not in features.modalities
    if known["audio"] is not None:
        has_audio = bool(known["audio"]["mask"][row].any())
    clip = {
        f"{name}_features": np.array(value["features"][row, :count])
        for name, value in known.items()
        if value is not None
    }
    return [clip], has_audio
