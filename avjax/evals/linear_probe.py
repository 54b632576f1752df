"""Linear probe: multinomial logistic regression on frozen features.

Its L2 penalty is selected on a part of train, never on test.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from avjax.evals.confusion import record_predictions
from avjax.evals.features import Features, score_by_space, sort_by_path
from avjax.evals.holdout import holdout_mask
from avjax.evals.metrics import accuracy
from avjax.types import NotApplicable

# Below, the threads of a matrix product wait for one another longer than they save; products of
# records, features and classes.
MIN_PRODUCTS_FOR_THREADS = 2**30
L2_REGS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


class Settings(NamedTuple):
    """How a probe is fitted, see `make`."""

    l2_regs: tuple[float, ...] = L2_REGS
    validation: float = 0.2
    seed: int = 0
    max_iter: int = 1000
    representation: str = "features"


def make(
    l2_regs: tuple[float, ...] = L2_REGS,
    validation: float = 0.2,
    seed: int = 0,
    max_iter: int = 1000,
    predictions: str | None = None,
    representation: str = "features",
) -> Callable[[Features | None, Features], dict[str, Any]]:
    """Linear probe top-1 and top-5 accuracy in percent, per modality and, of two or more, "both".

    Features are standardized with train's mean and standard deviation.  The objective is the mean
    cross-entropy plus l2_reg / 2 * |weights|^2, so an l2_reg means the same for a part of train as
    for all of it, on which the selected one is fitted again.  Each modality is scored on the
    records that have it, "both" on those with all.  Train records are sorted by path: their order
    does not matter.

    Args:
      l2_regs: penalties to select from.
      validation: share of train for the selection.
      seed: of the split for the selection.
      max_iter: maximum number of L-BFGS iterations.
      predictions: "video", "audio" or "both" to return its predictions too, as of
        `confusion.prediction_arrays`; None for none.
      representation: "features" of the encoder, or "embedding" of the head, e.g. of towers whose
        features are locked.

    Returns:
      A score (train, test) -> {name: value} for avjax.evals.suite.
    """
    settings = checked(Settings(l2_regs, validation, seed, max_iter, representation))

    def score(train, test):
        check(train, test)
        held_out(train, settings)
        classes = 1 + max(train.label.max(), test.label.max())
        arrays = {}

        def of_space(name, train, test):
            check(train, test)
            scores, chosen = fit_and_predict(name, train, test, classes, settings)
            found = accuracy(scores, test.label[test.label >= 0]) | {"l2_reg": chosen}
            if name == predictions:
                arrays.update(record_predictions(scores, test))
            return {f"{name}/{metric}": value for metric, value in found.items()}

        return score_by_space("linear probe", sort_by_path(train), test, of_space) | arrays

    return score


def checked(settings: Settings) -> Settings:
    """Returns the settings; ValueError if one is impossible."""
    l2_regs, validation, _, max_iter, representation = settings
    if not l2_regs or min(l2_regs) <= 0:
        raise ValueError(f"l2_regs={l2_regs!r}: use one or more, each above 0, e.g. (1e-3,)")
    if not 0 < validation < 1:
        raise ValueError(f"validation={validation!r}: use a share between 0 and 1, e.g. 0.2")
    if representation not in ("features", "embedding"):
        raise ValueError(f"representation={representation!r}: use features or embedding")
    if max_iter < 1:
        raise ValueError(f"max_iter={max_iter!r} of L-BFGS: use 1 or more, e.g. 1000")
    return settings


def fit_and_predict(
    name: str, train: Features, test: Features, classes: int, settings: Settings
) -> tuple[np.ndarray, float]:
    """Fits a probe on the concatenated modalities.

    Args:
      name: of the features, for messages.
      train, test: features of records that have all modalities, with labels.
      classes: C.
      settings: of the fit.

    Returns:
      (logits [M, C] of the M labeled test records, the selected penalty).
    """
    rows = np.flatnonzero(train.label >= 0)
    label = train.label[rows]
    x, y = standardized(train, test, rows, settings.representation)
    held = held_out(train, settings)
    chosen = select_l2(name, x, label, held, settings.l2_regs, settings.max_iter)
    model = fit(name, x, label, chosen, settings.max_iter)
    return predict_logits(model, y[test.label >= 0], classes), chosen


def held_out(train: Features, settings: Settings) -> np.ndarray | None:
    """`holdout_mask` of the labeled train records; None if there is nothing to select."""
    rows = np.flatnonzero(train.label >= 0)
    group = None if train.group is None else [train.group[i] for i in rows]
    if len(settings.l2_regs) < 2:
        return None
    return holdout_mask(train.label[rows], group, settings.validation, settings.seed)


def check(train: Features | None, test: Features) -> None:
    """Raises an error if there is nothing to learn from, or to test on.

    Args:
      train, test: features with labels.

    Raises:
      ValueError: the suite has no train records.
      NotApplicable: train has fewer than two classes, or test has no labels.
    """
    if train is None:
        raise ValueError("a linear probe needs train records: set train= of the suite")
    classes = len(np.unique(train.label[train.label >= 0]))
    if classes < 2:
        raise NotApplicable(f"needs two classes in train, which has {classes}")
    if not (test.label >= 0).any():
        raise NotApplicable("needs labels in test, which has none")


def standardized(
    train: Features, test: Features, rows: np.ndarray, kind: str = "features"
) -> tuple[np.ndarray, np.ndarray]:
    """Standardizes features with the statistics of train; modalities are concatenated.

    Args:
      train, test: features.
      rows: int [M], train records to use.
      kind: "features" or "embedding".

    Returns:
      (train [M, H], test [N, H]).
    """
    sides = []
    for name in test.modalities:
        x, y = train.modalities[name][kind][rows], test.modalities[name][kind]
        mean, deviation = x.mean(0), x.std(0) + 1e-5
        sides.append(((x - mean) / deviation, (y - mean) / deviation))
    if len(sides) == 1:
        return sides[0]
    x, y = (np.concatenate(side, axis=-1) for side in zip(*sides))
    return x, y


def select_l2(
    name: str,
    x: np.ndarray,
    label: np.ndarray,
    held: np.ndarray | None,
    l2_regs: Sequence[float],
    max_iter: int,
) -> float:
    """Selects the penalty with the best held-out accuracy; of equal ones, the largest.

    Args:
      name: of the features, for messages.
      x: float [N, H].
      label: int [N].
      held: bool [N], the held-out records; None if there is one penalty.
      l2_regs: penalties.
      max_iter: maximum number of iterations.
    """
    if held is None:
        return l2_regs[0]
    best = {}
    for l2_reg in sorted(l2_regs, reverse=True):
        model = fit(name, x[~held], label[~held], l2_reg, max_iter)
        best[l2_reg] = float((model.predict(x[held]) == label[held]).mean())
    return max(best, key=best.__getitem__)


def fit(name: str, x: np.ndarray, label: np.ndarray, l2_reg: float, max_iter: int) -> Any:
    """Fits a logistic regression; warns if it did not converge.

    Args:
      name: of the features, for messages.
      x: float [N, H].
      label: int [N].
      l2_reg: penalty of the mean cross-entropy.
      max_iter: maximum number of iterations.

    Returns:
      sklearn.linear_model.LogisticRegression.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    products = x.size * len(np.unique(label))
    threads = 1 if products < MIN_PRODUCTS_FOR_THREADS else None
    with warnings.catch_warnings(), threadpool_limits(threads, user_api="blas"):
        # Warned about below, with its name.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # scikit-learn weights the sum, not the mean, of cross-entropies against |weights|^2 / 2.
        model = LogisticRegression(C=1 / (l2_reg * len(x)), max_iter=max_iter).fit(x, label)
    if model.n_iter_.max() >= max_iter:
        warnings.warn(
            f"linear probe on {name} with l2_reg={l2_reg:g} did not converge in {max_iter} "
            "iterations: raise max_iter, or drop the smallest l2_regs",
            stacklevel=2,
        )
    return model


def predict_logits(model: Any, x: np.ndarray, classes: int) -> np.ndarray:
    """Computes the logits of a fitted model.

    Args:
      model: as of `fit`.
      x: float [N, H].
      classes: number of classes.

    Returns:
      [N, classes]; -inf for classes that train does not have.
    """
    logits = model.decision_function(x)
    if logits.ndim == 1:  # Two classes: scikit-learn returns the second one's only.
        logits = np.stack([-logits, logits], axis=1) / 2
    scores = np.full((len(x), classes), -np.inf)
    scores[:, model.classes_] = logits
    return scores
