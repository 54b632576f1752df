"""Optimizers by part of the parameters: masks, frozen parts, factors of the rate, other ones."""

import re
from collections.abc import Sequence

import jax
import optax

from avjax.config import ranges
from avjax.types import Tree


def kernels(params: Tree) -> Tree:
    """Returns a tree of bools: True for kernels, False for biases and normalization scales."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def freeze(
    optimizer: optax.GradientTransformation, paths: Sequence[str]
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer that leaves some parameters as they are.

    Frozen parameters have no state in the optimizer, and weight decay does not reach them.

    Args:
      optimizer: of the other parameters.
      paths: regular expressions; a parameter is frozen if one of them occurs in its path, such as
        "encoders_video/conv1/conv/kernel".

    Raises:
      ValueError: a path is no regular expression; from `init`, it matches no parameter, or all
        parameters are frozen.
    """
    patterns = _compile("paths", paths)

    def labels(params):
        found = _first_matches(params, patterns)
        if all(row is not None for row in jax.tree.leaves(found, is_leaf=_is_none)):
            raise ValueError(f"paths={tuple(paths)} freeze all parameters: leave some out")
        frozen = {True: "trained", False: "frozen"}
        return jax.tree.map(lambda row: frozen[row is None], found, is_leaf=_is_none)

    return optax.with_extra_args_support(
        optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)
    )


def layerwise(
    optimizer: optax.GradientTransformation, factors: Sequence[tuple[str, float]]
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer whose learning rate has a factor per part of the parameters.

    Args:
      optimizer: its updates are multiplied by the factors, a decoupled weight decay included.
      factors: ((regular expression, factor), ...); the first that occurs in a parameter's path,
        such as "encoders_video/conv1/conv/kernel", counts; 1 if none does.

    Raises:
      ValueError: a factor is negative, or a path is no regular expression; from `init`, a path
        matches no parameter.
    """
    patterns = _compile("factors", [pattern for pattern, _ in factors])
    for _, factor in factors:
        ranges.check_number("factors", factor, minimum=0)

    def init(params):
        _first_matches(params, patterns)
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        rows = _first_matches(updates, patterns)
        scaled = jax.tree.map(
            lambda row, x: x if row is None else factors[row][1] * x,
            rows,
            updates,
            is_leaf=_is_none,
        )
        return scaled, state

    return optax.with_extra_args_support(
        optax.chain(optimizer, optax.GradientTransformation(init, update))
    )


def by_part(
    optimizer: optax.GradientTransformation,
    parts: Sequence[tuple[str, optax.GradientTransformation]],
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer that is another one for some parts of the parameters.

    Args:
      optimizer: of the other parameters.
      parts: ((regular expression, optimizer), ...); the first that occurs in a parameter's path,
        such as "compositions/audio/residual/kernel", counts.

    Raises:
      ValueError: a path is no regular expression; from `init`, it matches no parameter.
    """
    patterns = _compile("parts", [pattern for pattern, _ in parts])
    names = [f"part_{i}" for i in range(len(parts))]

    def labels(params):
        rows = _first_matches(params, patterns)
        return jax.tree.map(
            lambda row: "others" if row is None else names[row], rows, is_leaf=_is_none
        )

    each = dict(zip(names, (own for _, own in parts)))
    return optax.with_extra_args_support(
        optax.multi_transform({"others": optimizer, **each}, labels)
    )


def _compile(name, paths):
    """Returns compiled regular expressions; ValueError if one of `paths` is none."""
    if isinstance(paths, str) or not paths:
        raise ValueError(f"{name}={paths!r}: give a tuple of paths, e.g. ('encoders_video',)")
    for path in paths:
        try:
            re.compile(path)
        except re.error as error:
            raise ValueError(f"{name}: {path!r} is no regular expression: {error}") from error
    return [re.compile(path) for path in paths]


def _first_matches(params, patterns):
    """Returns a tree of the number of the first pattern that occurs in each path, or None.

    ValueError if a pattern occurs in none.
    """
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    for pattern in patterns:
        if not any(map(pattern.search, names)):
            parts = sorted({name.split("/")[0] for name in names})
            raise ValueError(
                f"{pattern.pattern!r} matches no parameter; their paths begin with "
                f"{', '.join(parts)}"
            )

    def first(name):
        return next((i for i, pattern in enumerate(patterns) if pattern.search(name)), None)

    return jax.tree.unflatten(jax.tree.structure(params), map(first, names))


def _is_none(x):
    return x is None
