"""Video alone, audio alone, and both: late fusion and concatenation of frozen features.

As the table of AVTS (Korbar et al., NeurIPS 2018, https://arxiv.org/abs/1807.00230) asks: what does
audio add to video, and how are they combined?
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from avjax.evals import linear_probe
from avjax.evals.confusion import record_predictions
from avjax.evals.features import Features, sort_by_path, with_modalities
from avjax.evals.metrics import accuracy
from avjax.types import NotApplicable


def make(
    l2_regs: tuple[float, ...] = linear_probe.L2_REGS,
    validation: float = 0.2,
    seed: int = 0,
    max_iter: int = 1000,
    predictions: str | None = None,
) -> Callable[[Features | None, Features], dict[str, Any]]:
    """Top-1 and top-5 accuracy in percent of linear probes, all on the same records.

    Only records that have all modalities take part, in train and in test, so the numbers are
    comparable.  "late_fusion" is the mean of the class probabilities of the probes of each
    modality; "concat" is one probe on the concatenated, standardized features.

    Args:
      l2_regs, validation, seed, max_iter: of the probes, see `linear_probe.make`.
      predictions: a modality, "late_fusion" or "concat" to return its predictions too, as of
        `confusion.prediction_arrays`; None for none.

    Returns:
      A score (train, test) -> {"video/top1", "audio/top1", "late_fusion/top1", "concat/top1", ...}
      and "train_records" and "test_records", the labeled records with all modalities, for
      avjax.evals.suite.
    """
    settings = linear_probe.checked(linear_probe.Settings(l2_regs, validation, seed, max_iter))

    def score(train, test):
        linear_probe.check(train, test)
        linear_probe.held_out(train, settings)
        names = tuple(test.modalities)
        if not names:
            return {}
        if len(names) < 2:
            raise NotApplicable(f"compares modalities, and these nets have {', '.join(names)} only")
        classes = 1 + max(train.label.max(), test.label.max())
        train, test = sort_by_path(with_modalities(train, names)), with_modalities(test, names)
        linear_probe.check(train, test)
        label = test.label[test.label >= 0]
        log_probability = class_log_probabilities(train, test, classes, settings)
        if predictions is not None and predictions not in log_probability:
            raise ValueError(f"predictions={predictions!r}: use {', '.join(log_probability)}")
        out = {"train_records": int((train.label >= 0).sum()), "test_records": len(label)}
        for name, value in log_probability.items():
            out |= {f"{name}/{metric}": found for metric, found in accuracy(value, label).items()}
        if predictions is None:
            return out
        return out | record_predictions(np.exp(log_probability[predictions]), test)

    return score


def class_log_probabilities(
    train: Features, test: Features, classes: int, settings: linear_probe.Settings
) -> dict[str, np.ndarray]:
    """Logs of the class probabilities of the labeled test records, by each use of the modalities.

    Args:
      train, test: features of records that have all modalities.
      classes: C.
      settings: of the probes.

    Returns:
      {each modality, "late_fusion", "concat": float [M, C]}; -inf for classes that train lacks.
    """

    def of(names, title):
        one, other = with_modalities(train, names), with_modalities(test, names)
        logits, _ = linear_probe.fit_and_predict(title, one, other, classes, settings)
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)

    names = tuple(test.modalities)
    alone = {name: of((name,), name) for name in names}
    fused = np.logaddexp.reduce([*alone.values()], axis=0) - np.log(len(names))
    return alone | {"late_fusion": fused, "concat": of(names, "concatenated features")}
