"""One-vs-rest linear SVMs on the devices: the exact problem of liblinear, for sharded rows.

Of each class, the minimum over weights w and intercept b of

    |w|^2 / 2 + b^2 / 2 + C sum_i max(0, 1 - y_i (w x_i + b)),    y_i = 1 in the class, else -1

as in scikit-learn's `LinearSVC(loss="hinge")`, which treats the intercept as the weight of a
feature that is always 1.  Solved by ADMM (Boyd et al., 2011, https://doi.org/10.1561/2200000016) in
the basis of the eigenvectors of the Gram matrix of the features, where the linear system of each
iteration is diagonal, for all classes at once.  The duality gap bounds how far from the minimum a
result is: with a relative gap g, weights are within sqrt(2 g objective) of the exact ones.

Written for one device and the global arrays.  Under `jit` on a mesh with the rows split over its
devices, each device works on its own rows; only sums over rows [H, C] are communicated, and once a
matrix [H, H], which every device holds.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from avjax.ops.scores import precise_einsum
from avjax.types import Array

CHECK_EVERY = 25  # Iterations between two duality gaps; the penalty adapts at check 1, 2, 4, 8 ...
OVER_RELAXATION = 1.6
# The penalty, as a share of the ratio of the dual to the primal variable.
PENALTY_RATIO = 1.0
EIGENVALUE_ERROR = 1e-6  # Of float32, as a share of the largest: keeps the iteration stable.


class LinearSVM(NamedTuple):
    """Fitted SVMs; the decision value of row x for class c is x @ weights[:, c] + intercept[c].

    Attributes:
      weights: float32 [H, C].
      intercept: float32 [C].
      objective: float32 [C], the value of the objective.
      gap: float32 [C], the duality gap as a share of the objective.
      n_iter: number of iterations.
    """

    weights: Array
    intercept: Array
    objective: Array
    gap: Array
    n_iter: Array


class _State(NamedTuple):
    """ADMM's variables in the basis of the eigenvectors.

    weights [H + 1, C], their margins [N, C], the copy of the margins in the hinge [N, C], scaled
    dual variable [N, C] and penalty [C]; the best weights so far, their objective and gap [C].
    """

    weights: Array
    margins: Array
    copy: Array
    dual: Array
    penalty: Array
    best: Array
    objective: Array
    gap: Array
    n_iter: Array


def fit(
    x: Array,
    label: Array,
    mask: Array,
    num_classes: int,
    c: float = 1.0,
    tol: float = 1e-3,
    max_iter: int = 5000,
) -> LinearSVM:
    """Fits a linear SVM of each class against all others.

    Args:
      x: float [N, H], standardized features.
      label: int [N], 0 to num_classes - 1.
      mask: bool [N], the rows that count.
      num_classes: C.
      c: weight of the hinge loss of a row.
      tol: relative duality gap to stop at; below 1e-5 float32 may not reach it.
      max_iter: maximum number of iterations.

    Returns:
      LinearSVM; not converged if any `gap` is above `tol`.
    """
    x = jnp.where(mask[:, None], x.astype(jnp.float32), 0)
    x = jnp.concatenate([x, mask[:, None].astype(x.dtype)], 1)
    sign = jnp.where(label[:, None] == jnp.arange(num_classes)[None], 1.0, -1.0)
    sign = jnp.where(mask[:, None], sign, 0)
    cost = jnp.where(mask, c, 0.0)[:, None]
    values, vectors = jnp.linalg.eigh(precise_einsum(x.T, x))
    x = precise_einsum(x, vectors)
    curvature = jnp.maximum(values, 0)[:, None] + EIGENVALUE_ERROR * values.max()

    def going(state):
        return (state.n_iter < max_iter) & (state.gap > tol).any()

    def step(state):
        state = lax.fori_loop(
            0, CHECK_EVERY, lambda _, state: _iterate(x, sign, cost, curvature, state), state
        )
        state = state._replace(n_iter=state.n_iter + CHECK_EVERY)
        return _adapt(cost, _check(x, sign, cost, state))

    start = _start(x, sign, cost)
    found = lax.while_loop(going, step, start)
    weights = precise_einsum(vectors, found.best)
    return LinearSVM(weights[:-1], weights[-1], found.objective, found.gap, found.n_iter)


def _start(x, sign, cost):
    zero, count = jnp.zeros(sign.shape, x.dtype), sign.shape[1]
    weights = jnp.zeros((x.shape[1], count), x.dtype)
    objective = jnp.broadcast_to(cost.sum(), count)
    # A first penalty: of dual variables of 1/200 of their bound.
    penalty = jnp.broadcast_to(cost.max() / 200, count)
    gap, n_iter = jnp.ones(count, x.dtype), jnp.zeros((), jnp.int32)
    return _State(weights, zero, zero + 1, zero, penalty, weights, objective, gap, n_iter)


def _iterate(x, sign, cost, curvature, state):
    """One iteration: weights, copy of the margins, dual variable."""
    rate = state.penalty[None]
    residual = sign * (state.margins - state.copy + state.dual)
    gradient = state.weights / rate + _sum_rows(x, residual)
    weights = state.weights - gradient / (1 / rate + curvature)
    margins = sign * precise_einsum(x, weights)
    relaxed = OVER_RELAXATION * margins + (1 - OVER_RELAXATION) * state.copy
    value = relaxed + state.dual
    copy = jnp.where(value > 1, value, jnp.minimum(1, value + cost / rate))
    return state._replace(weights=weights, margins=margins, copy=copy, dual=value - copy)


def _sum_rows(x, factors):
    """Rows [N, H] times factors [N, C], summed: [H, C].  In this form no copy of x is made."""
    return precise_einsum(factors.T, x).T


def _multipliers(cost, state):
    """The feasible dual variables of the SVM, [N, C] in 0 ... C."""
    return jnp.clip(-state.penalty[None] * state.dual, 0, cost)


def _check(x, sign, cost, state):
    """Keeps the better weights and updates the gap."""
    multipliers = _multipliers(cost, state)
    of_dual = _sum_rows(x, sign * multipliers)
    bound = multipliers.sum(0) - (of_dual**2).sum(0) / 2
    best, objective = state.best, state.objective
    for weights, margins in (
        (state.weights, state.margins),
        (of_dual, sign * precise_einsum(x, of_dual)),
    ):
        loss = (cost * jnp.maximum(0, 1 - margins)).sum(0) + (weights**2).sum(0) / 2
        best = jnp.where((loss < objective)[None], weights, best)
        objective = jnp.minimum(loss, objective)
    gap = (objective - bound) / jnp.maximum(objective, jnp.finfo(x.dtype).tiny)
    return state._replace(best=best, objective=objective, gap=gap)


def _adapt(cost, state):
    """Balances the penalty by the sizes of the variables, ever more rarely."""
    number = state.n_iter // CHECK_EVERY
    size = jnp.sqrt((_multipliers(cost, state) ** 2).sum(0))
    length = jnp.sqrt(((cost > 0) * (state.copy - 1) ** 2).sum(0))
    wanted = PENALTY_RATIO * size / jnp.maximum(length, jnp.finfo(size.dtype).tiny)
    change = ((number & (number - 1)) == 0) & (size > 0) & (length > 0)
    penalty = jnp.where(change, wanted, state.penalty)
    return state._replace(penalty=penalty, dual=state.dual * (state.penalty / penalty)[None])
