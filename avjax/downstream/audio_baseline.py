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

    def transform(clip, rng):
        return {"mfcc": features(clip["audio"], sample_rate)}

    def evaluate(split: Split) -> dict[str, Any]:
        def extract(role: str, source: Source) -> Extracted:
            key = source.name, tuple(record["path"] for record in source.records)
            if key not in known:
                known[key] = _extract(source, sampler, transform, split.workers)
            return known[key]

        sides = audio_sides.extract_sides(audio_sides.open_sides(split, None), extract, folds)
        return audio_sides.apply_classifiers({"": classifier}, sides)

    return evaluate


def _extract(source, sampler, transform, workers) -> Extracted:
    batches = pipeline.eval_batches(source, sampler, (transform,), BATCH_SIZE, workers=workers)
    values, mask = None, np.zeros((len(source), 1), bool)
    total = -(-len(source) // BATCH_SIZE)
    for batch in progress(batches, total, f"features of {source.name}"):
        rows = np.flatnonzero(batch["mask"] & batch["has_audio"])
        if values is None:
            values = np.zeros((len(source), 1, batch["mfcc"].shape[1]), np.float32)
        index = batch["index"][rows]
        values[index, 0], mask[index, 0] = batch["mfcc"][rows], True
    assert values is not None  # A source has one record or more.
    return Extracted({"mfcc": values}, mask)
