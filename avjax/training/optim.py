"""Which parameters an optimizer treats as weights."""

import jax


def kernels(params):
    """True for kernels, False for biases and the scales of normalization, which are vectors."""
    return jax.tree.map(lambda x: x.ndim > 1, params)
