"""Protocol: scores of frozen features, averaged over the clips of a record."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from avjax.data.source import Source
from avjax.downstream import data, feature_cache, recipe
from avjax.downstream.data import Split
from avjax.downstream.feature_cache import ClipFeatures
from avjax.downstream.model import Model
from avjax.evals import features, suite
from avjax.evals.features import Features
from avjax.evals.metrics import l2_normalize
from avjax.types import NotApplicable


def make(
    scores: dict[str, suite.Score],
    clips: Mapping[str, Any] | None = None,
    train: bool = True,
    modality: str | None = None,
    sampler: str | None = None,
) -> Callable[[Model, Split], dict[str, Any]]:
    """Scores of frozen features, see `avjax.evals.suite`.

    Args:
      scores: {name: score}; the metrics of a score named "" have no name in front.
      clips: arguments of the clip sampler to change, e.g. dict(num_clips=10).
      train: whether the scores need train records.
      modality: "video" or "audio" to use this one only.
      sampler: name of a clip sampler, e.g. "avjax.data.clip_sampling.sliding", with the length,
        rate and size of the run's clips; None for that of the run.

    Returns:
      A protocol (model, split) -> {metric: value}.
    """

    def evaluate(model: Model, split: Split) -> dict[str, Any]:
        parts = {}
        clip_recipe = recipe.recipe_of(model.config, modality, clips, model.trust, sampler)
        for role in ("train", "test") if train else ("test",):
            source = data.open_source(split, role, model)
            options = split.features, None, split.batch_size, split.workers
            found = feature_cache.clip_features(model, source, clip_recipe, *options)
            parts[role] = record_features(found, source)
        out, reasons = {}, []
        for name, score in scores.items():
            try:
                values = score(parts.get("train"), parts["test"])
            except NotApplicable as error:
                reasons.append(f"{name}: {error}" if name else str(error))
                continue
            out |= {f"{name}/{key}" if name else key: value for key, value in values.items()}
        if not out:
            raise NotApplicable("; ".join(reasons) or "the scores do not apply to these nets")
        counts = {f"{role}/records": len(part.label) for role, part in parts.items()}
        return out | counts

    return evaluate


def record_features(clips: ClipFeatures, source: Source) -> Features:
    """Averages the features over the clips of each readable record.

    Args:
      clips: features of the N records of `source`.
      source: of the records.
    """
    kept, modalities = np.flatnonzero(clips.readable), {}
    for name, found in clips.modalities.items():
        mask = found["mask"][kept]
        count = np.maximum(mask.sum(1), 1)[:, None].astype(np.float32)
        means = {
            kind: value[kept].sum(1, dtype=np.float32) / count
            for kind, value in found.items()
            if kind != "mask"
        }
        means["embedding"] = l2_normalize(means["embedding"])
        modalities[name] = means | {"mask": mask.any(1)}
    known = features.select_records(suite.metadata(source), kept)
    return known._replace(modalities=modalities)
