"""Weights of reference programs, drawn again from their seeds, in nets of ours."""

import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict


def normal(seed, *shape):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def close(ours, theirs, tolerance=1e-4):
    """Equal within `tolerance` of the largest value."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def shapes(net, x):
    """{path: shape} of all that `init` makes for an input of shape `x`."""
    tree = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros(x), False))
    return {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}


def stored(names, shapes):
    """[(name, shape)] of the arrays of a reference, but for PyTorch's counts of batches."""
    pairs = ((n.decode(), re.findall(r"\d+", s.decode())) for n, s in zip(names, shapes))
    return [(name, tuple(map(int, s))) for name, s in pairs if "num_batches" not in name]


def drawn(names, seed):
    """{name: array} of the recipe that most goldens share, of [(name, shape)]: one stream."""
    rs, out = np.random.RandomState(seed), {}
    for name, shape in names:
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            value = rs.uniform(0.5, 1.5, shape)
        else:
            scale = np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1
            value = scale * rs.standard_normal(shape)
        out[name] = value.astype(np.float32)
    return out


def drawn_by_name(names):
    """{name: array} of the other recipe: each from a seed that is its own name."""
    out = {}
    for name, shape in names:
        x = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
        if name.endswith(("running_var", "_g")):
            x = 1 + 0.1 * np.abs(x)
        elif "running_mean" in name or "bias" in name:
            x = 0.1 * x
        else:
            x = x * np.sqrt(2 / np.prod(shape[1:])) if x.ndim > 1 else 1 + 0.1 * x
        out[name] = x.astype(np.float32)
    return out


def checked(values, names, sums):
    """`values`, once their sums are those the reference had."""
    sums = dict(zip((name.decode() for name in names), sums))
    for name, value in values.items():
        total = value.sum(dtype=np.float64)
        np.testing.assert_allclose(total, sums[name], rtol=1e-3, atol=1e-2, err_msg=name)
    return values


def turned(a, layout):
    """An array of theirs in our order; `layout` as in `weights/names_video.py` and
    `weights/names_audio.py`.
    """
    if layout == "same":
        return a
    return a.transpose(3, 2, 1, 0) if layout == "transposed" else np.moveaxis(a, (0, 1), (-1, -2))


def loaded(names, state):
    """Our variables of their state; `names` is {our path: (their name, layout)}."""
    flat = {path: turned(state[theirs], layout) for path, (theirs, layout) in names.items()}
    return unflatten_dict(flat, sep="/")
