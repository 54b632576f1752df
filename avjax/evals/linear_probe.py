"""Linear probe: multinomial logistic regression on features that stay as they are.

The strength of its L2 penalty is chosen on a part of train, never on test.
"""

import warnings

import numpy as np

from avjax.evals.features import by_space
from avjax.types import NotApplicable


def make(
    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    validation: float = 0.2,
    seed: int = 0,
    steps: int = 1000,
):
    """A score: top-1 and top-5 in percent, for each modality and, of two or more, for "both".

    Features are standardized with train's mean and deviation.  The objective is the mean
    cross-entropy plus strength / 2 * |weights|^2, so a strength means the same for a part of
    train as for the whole of it, on which the chosen one is fitted again, for at most `steps`
    steps of L-BFGS.  A modality's probe is of the records that have it, "both"'s of those with all.
    """
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"strengths={strengths!r}: use one or more, each above 0, e.g. (1e-3,)")
    if not 0 < validation < 1:
        raise ValueError(f"validation={validation!r}: use a share between 0 and 1, e.g. 0.2")
    if steps < 1:
        raise ValueError(f"steps={steps!r} of L-BFGS: use 1 or more, e.g. 1000")

    def score(train, test):
        check(train, test)
        held_out(train)
        classes = 1 + max(train.label.max(), test.label.max())

        def of_space(name, train, test):
            check(train, test)
            rows, here = np.flatnonzero(train.label >= 0), test.label >= 0
            label = train.label[rows]
            x, y = standardized(train, test, rows)
            chosen = choose(name, x, label, held_out(train), strengths, steps)
            model = fit(name, x, label, chosen, steps)
            scores = decide(model, y[here], classes)
            found = accuracy(scores, test.label[here]) | {"strength": chosen}
            return {f"{name}/{metric}": value for metric, value in found.items()}

        return by_space("linear probe", train, test, of_space)

    def held_out(train):
        """`part` of the labeled train records; None where there is nothing to choose."""
        rows = np.flatnonzero(train.label >= 0)
        group = None if train.group is None else [train.group[i] for i in rows]
        return part(train.label[rows], group, validation, seed) if len(strengths) > 1 else None

    return score


def check(train, test) -> None:
    """Raises NotApplicable where there is nothing to learn from, or to test on."""
    if train is None:
        raise ValueError("a linear probe learns from train records: give the suite train=")
    classes = len(np.unique(train.label[train.label >= 0]))
    if classes < 2:
        raise NotApplicable(f"needs two classes in train, which has {classes}")
    if not (test.label >= 0).any():
        raise NotApplicable("needs labels in test, which has none")


def standardized(train, test, rows) -> tuple[np.ndarray, np.ndarray]:
    """Standardized features ([M, H] of train's `rows`, [N, H] of test), modalities side by side."""
    sides = []
    for name in test.modalities:
        x, y = train.modalities[name]["features"][rows], test.modalities[name]["features"]
        mean, deviation = x.mean(0), x.std(0) + 1e-5
        sides.append(((x - mean) / deviation, (y - mean) / deviation))
    if len(sides) == 1:
        return sides[0]
    return tuple(np.concatenate(side, axis=-1) for side in zip(*sides))


def part(label, group, validation: float, seed: int) -> np.ndarray:
    """Which of N train records [N] bool to hold out: about `validation` of every class.

    Records of one group go together: clips cut from one film tell each other's class.
    Groups are taken in random order whenever they bring the classes nearer to their share.
    """
    name = [
        ("row", i) if group is None or group[i] is None else group[i] for i in range(len(label))
    ]
    groups = {}
    for i, g in enumerate(name):
        groups.setdefault(g, []).append(i)
    want = validation * np.bincount(label).astype(float)
    held = np.zeros(len(label), bool)
    members = list(groups.values())
    for i in np.random.default_rng(seed).permutation(len(members)):
        gain = np.bincount(label[members[i]], minlength=len(want))
        if np.abs(want - gain).sum() < np.abs(want).sum():
            want -= gain
            held[members[i]] = True
    if not held.any() or len(np.unique(label[~held])) < 2:
        raise NotApplicable(
            f"{len(label)} labeled train records in {len(groups)} groups leave no validation part "
            f"of {validation:.0%}: give more records, or a single strength"
        )
    return held


def choose(name, x, label, held, strengths, steps) -> float:
    """The strength that is best on the records held out; of equals, the strongest."""
    if held is None:
        return strengths[0]
    best = {}
    for strength in sorted(strengths, reverse=True):
        model = fit(name, x[~held], label[~held], strength, steps)
        best[strength] = float((model.predict(x[held]) == label[held]).mean())
    return max(best, key=best.get)


def fit(name, x, label, strength: float, steps: int):
    """A fitted scikit-learn model; warns where it stopped before the optimum."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Said again below, with what did not converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # scikit-learn weighs the sum, not the mean, of cross-entropies against |weights|^2 / 2.
        model = LogisticRegression(C=1 / (strength * len(x)), max_iter=steps).fit(x, label)
    if model.n_iter_.max() >= steps:
        warnings.warn(
            f"linear probe on {name} at strength {strength:g} did not converge in {steps} steps: "
            "raise steps, or drop the weakest strengths",
            stacklevel=2,
        )
    return model


def decide(model, x, classes: int) -> np.ndarray:
    """Logits [N, classes]; -inf for a class that train does not have."""
    logits = model.decision_function(x)
    if logits.ndim == 1:  # Two classes: scikit-learn gives the second one's only.
        logits = np.stack([-logits, logits], axis=1) / 2
    scores = np.full((len(x), classes), -np.inf)
    scores[:, model.classes_] = logits
    return scores


def accuracy(scores: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Top-1 and, of more than five classes, top-5 in percent, of scores [N, C]."""
    order = np.argsort(-scores, axis=1, kind="stable")
    hit = (order == label[:, None]) & np.isfinite(np.take_along_axis(scores, order, axis=1))
    at = (1, 5) if scores.shape[1] > 5 else (1,)
    return {f"top{k}": 100 * float(hit[:, :k].any(1).mean()) for k in at}
