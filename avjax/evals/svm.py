"""Linear SVMs on windows of frozen features: the sound classification of the papers.

One-vs-rest with hinge loss; features are standardized with train's statistics; decision values are
averaged over the windows of a test record.  As AVID does on ESC-50 and DCASE2014 (Morgado et al.,
CVPR 2021, https://arxiv.org/abs/2004.12943, its published program), L3 and AVTS likewise.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from avjax.config import ranges
from avjax.evals import windows
from avjax.evals.confusion import prediction_arrays
from avjax.evals.metrics import accuracy
from avjax.evals.windows import WindowFeatures
from avjax.ops import linear_svm
from avjax.runtime import sharding

# (name, x [M, D], label [M], C, cost) -> (weights [D, C], intercept [C]).
Solver = Callable[[str, np.ndarray, np.ndarray, int, float], tuple[np.ndarray, np.ndarray]]
Classify = Callable[[WindowFeatures, WindowFeatures], dict[str, Any]]


def make(c: float = 1.0, solver: Solver | None = None) -> Classify:
    """Top-1 accuracy in percent of linear SVMs on each layer, and of the best one.

    "best/top1" is that of the layer with the highest accuracy on test, as the papers report it: it
    is selected on test, which the accuracies of single layers are not.

    Args:
      c: weight of the hinge loss of a window; AVID has 10 on ESC-50 and 1 on DCASE2014.
      solver: `liblinear` or `on_devices`; None for `liblinear` with AVID's limits.

    Returns:
      (train, test) -> {"<layer>/top1", "best/top1"} and the arrays of
      `confusion.prediction_arrays` of the best layer.
    """
    ranges.check_number("c", c, above=0)
    solve = solver or liblinear()

    def classify(train: WindowFeatures, test: WindowFeatures) -> dict[str, Any]:
        windows.check(train, test)
        train = windows.sort_by_path(train)
        classes = max(len(train.classes), 1 + int(max(train.label.max(), test.label.max())))
        scores = {
            layer: decision_values(layer, train, test, classes, c, solve) for layer in test.layers
        }
        top = {layer: accuracy(value, test.label)["top1"] for layer, value in scores.items()}
        best = max(top, key=top.__getitem__)
        found = {f"{layer}/top1": value for layer, value in top.items()} | {"best/top1": top[best]}
        return found | prediction_arrays(scores[best], test.label, test.path, test.classes)

    return classify


def decision_values(
    layer: str,
    train: WindowFeatures,
    test: WindowFeatures,
    classes: int,
    c: float,
    solve: Solver,
) -> np.ndarray:
    """Fits SVMs on one layer and averages their decision values over the windows of each record.

    Args:
      layer: name of the layer.
      train, test: features.
      classes: C.
      c: weight of the hinge loss of a window.
      solve: `liblinear` or `on_devices`.

    Returns:
      float64 [N, C]; -inf for classes that train does not have.
    """
    x, y = windows.standardized(train, test, layer)
    weights, intercept = solve(layer, x.x, x.label, classes, c)
    scores = windows.mean_by_record(y.x @ weights + intercept, y.record, len(test.label))
    scores[:, np.setdiff1d(np.arange(classes), x.label)] = -np.inf
    return scores


def liblinear(tol: float = 1e-4, max_iter: int = 200, seed: int = 0) -> Solver:
    """scikit-learn's LinearSVC; warns if it did not converge, and with what.

    On features of many correlated dimensions 200 iterations, those of AVID, end far from the
    solution; `on_devices` finds it.

    Args:
      tol: tolerance of the stopping criterion.
      max_iter: maximum number of passes over the windows.
      seed: of the order of the windows.
    """
    ranges.check_number("tol", tol, above=0)
    ranges.check_integer("max_iter", max_iter, 1)

    def solve(name, x, label, classes, c):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = LinearSVC(C=c, loss="hinge", tol=tol, max_iter=max_iter, random_state=seed)
            model.fit(x, label)
        for one in caught:
            if not issubclass(one.category, ConvergenceWarning):
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        if any(issubclass(one.category, ConvergenceWarning) for one in caught):
            warnings.warn(
                f"SVM on {name} with c={c:g} did not converge in {max_iter} iterations of "
                "liblinear: raise max_iter, or use solver=dict(fn='avjax.evals.svm.on_devices')",
                stacklevel=2,
            )
        weights = np.zeros((x.shape[1], classes), np.float32)
        intercept = np.zeros(classes)
        coefficients, offsets = model.coef_, np.atleast_1d(model.intercept_)
        if len(coefficients) == 1:  # Two classes: scikit-learn returns the second one's only.
            coefficients = np.concatenate([-coefficients, coefficients])
            offsets = np.concatenate([-offsets, offsets])
        weights[:, model.classes_], intercept[model.classes_] = coefficients.T, offsets
        return weights, intercept

    return solve


def on_devices(tol: float = 1e-3, max_iter: int = 5000) -> Solver:
    """`ops.linear_svm` on all devices, for windows that one machine cannot hold; warns likewise.

    Args:
      tol: relative duality gap to stop at.
      max_iter: maximum number of iterations.
    """
    ranges.check_number("tol", tol, above=0)
    ranges.check_integer("max_iter", max_iter, 1)

    def solve(name, x, label, classes, c):
        mesh = sharding.mesh()
        split, extra = NamedSharding(mesh, P(sharding.AXES)), -len(x) % mesh.size
        rows = (np.pad(x, ((0, extra), (0, 0))), np.pad(label, (0, extra)))
        mask = np.arange(len(rows[1])) < len(x)
        placed = [jax.device_put(value, split) for value in (*rows, mask)]
        with jax.set_mesh(mesh):
            found = jax.device_get(
                _fit(*placed, classes, jnp.float32(c), jnp.float32(tol), max_iter)
            )
        if (worst := found.gap.max()) > tol:
            warnings.warn(
                f"SVM on {name} with c={c:g} did not converge in {max_iter} iterations: its "
                f"duality gap is {worst:.1e} of the objective, above tol={tol:g}: raise max_iter",
                stacklevel=2,
            )
        return found.weights, found.intercept

    return solve


_fit = jax.jit(linear_svm.fit, static_argnums=3)
