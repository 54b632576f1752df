"""Logistic probe on windows of frozen features, with the mean probability of a record's windows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from avjax.evals import linear_probe, windows
from avjax.evals.holdout import holdout_mask
from avjax.evals.metrics import accuracy
from avjax.evals.windows import WindowFeatures


def make(
    l2_regs: tuple[float, ...] = linear_probe.L2_REGS,
    validation: float = 0.2,
    seed: int = 0,
    max_iter: int = 1000,
    layer: str = "audio",
) -> Callable[[WindowFeatures, WindowFeatures], dict[str, Any]]:
    """Top-1 and top-5 accuracy in percent of multinomial logistic regression on one layer.

    The penalty is selected on a part of train, never on test; see `linear_probe.make`.

    Args:
      l2_regs: penalties to select from.
      validation: share of train for the selection; recordings are not divided.
      seed: of the split for the selection.
      max_iter: maximum number of L-BFGS iterations.
      layer: name of the layer.

    Returns:
      (train, test) -> {"top1", "top5", "l2_reg"}.
    """
    settings = linear_probe.Settings(l2_regs, validation, seed, max_iter)
    linear_probe.checked(settings)

    def classify(train: WindowFeatures, test: WindowFeatures) -> dict[str, Any]:
        windows.check(train, test)
        train = windows.sort_by_path(train)
        x, y = windows.standardized(train, test, layer, epsilon=1e-5)
        held = None
        if len(l2_regs) > 1:
            held = holdout_mask(train.label, train.group, validation, seed)[x.record]
        chosen = linear_probe.select_l2(layer, x.x, x.label, held, l2_regs, max_iter)
        model = linear_probe.fit(layer, x.x, x.label, chosen, max_iter)
        classes = 1 + int(max(train.label.max(), test.label.max()))
        logits = linear_probe.predict_logits(model, y.x, classes)
        probability = scipy.special.softmax(logits, axis=1)
        mean = windows.mean_by_record(probability, y.record, len(test.label))
        absent = np.setdiff1d(np.arange(classes), train.label)
        mean[:, absent] = -np.inf
        return accuracy(mean, test.label) | {"l2_reg": chosen}

    return classify
