"""Baseline: sound classification by classical features of the waveform, without a net."""

from collections.abc import Callable
from typing import Any

import numpy as np

from avjax.data import clip_sampling, pipeline
from avjax.data.source import Source
from avjax.downstream import audio_sides
from avjax.downstream.audio_sides import Extracted
from avjax.downstream.data import Split
from avjax.runtime.progress import progress
from avjax.types import NotApplicable

BATCH_SIZE = 16  # Recordings.


def make(
    features: Callable[[np.ndarray, int], np.ndarray],
    classifier: Callable[..., dict[str, Any]],
    seconds: float,
    sample_rate: int = 22_050,
    folds: bool = False,
) -> Callable[[Split], dict[str, Any]]:
    """Classification of recordings by features of the whole waveform.

    Args:
      features: (waveform int16 [N], sample rate) -> [D], e.g. `evals.classical.mfcc_statistics`.
      classifier: e.g. `avjax.evals.svm`; the features are its layer "mfcc".
      seconds: of each recording: the middle part, with silence where it is shorter.
      sample_rate: in Hz.
      folds: whether the splits are folds of the same records, which then are read once.

    Returns:
      split -> {metric: value or array}.
    """
    sampler = clip_sampling.uniform(0, 1.0, seconds, sample_rate, 1)
    known: dict[tuple, Extracted] = {}

    def evaluate(split: Split) -> dict[str, Any]:
        def extract(role: str, source: Source) -> Extracted:
            key = source.name, tuple(record["path"] for record in source.records)
            if key not in known:
                known[key] = _extract(source, sampler, features, split.workers)
            return known[key]

        sides = audio_sides.extract_sides(audio_sides.open_sides(split, None), extract, folds)
        return audio_sides.apply_classifiers({"": classifier}, sides)

    return evaluate


def _extract(source, sampler, features, workers) -> Extracted:
    """Computes the features here: each decoding process would load libraries for a long time."""
    batches = pipeline.eval_batches(source, sampler, (), BATCH_SIZE, workers=workers)
    values, mask = None, np.zeros((len(source), 1), bool)
    total = -(-len(source) // BATCH_SIZE)
    for batch in progress(batches, total, f"features of {source.name}"):
        for i in np.flatnonzero(batch["mask"] & batch["has_audio"]):
            found, index = features(batch["audio"][i], sampler.sample_rate), batch["index"][i]
            if values is None:
                values = np.zeros((len(source), 1, len(found)), np.float32)
            values[index, 0], mask[index, 0] = found, True
    if values is None:
        raise NotApplicable(f"no recording of {source.name} could be read")
    return Extracted({"mfcc": values}, mask)
