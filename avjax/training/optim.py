"""Masks of parameters for optimizers."""

import jax


def kernels(params):
    """Returns a tree of bools: True for kernels, False for biases and normalization scales."""
    return jax.tree.map(lambda x: x.ndim > 1, params)
