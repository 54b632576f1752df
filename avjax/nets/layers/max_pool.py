"""Max pooling of images and clips, with a gradient that is fast on a CPU too."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from avjax.types import Array


def max_pool(
    x: Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[tuple[int, int], ...] | None = None,
) -> Array:
    """Maximum of each window over the axes between the first and the last of `x`.

    Args:
      x: [B, ..., C].
      window, strides: one number per axis in between.
      pads: pairs (before, after), filled with -inf; None for half of the window on each side.
    """
    pads = tuple((k // 2, k // 2) for k in window) if pads is None else pads
    return _max_pool(x, window, strides, pads)


def _plain(x, window, strides, pads):
    pads = ((0, 0), *pads, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x, window, strides, pads):
    return _plain(x, window, strides, pads)


def _max_pool_forward(x, window, strides, pads):
    y = _plain(x, window, strides, pads)
    return y, (x, y)


def _max_pool_backward(window, strides, pads, saved, dy):
    def plain(x, y, dy):
        return jax.vjp(lambda x: _plain(x, window, strides, pads), x)[1](dy)[0]

    def gather(x, y, dy):
        return _max_pool_gradient(x, y, dy, window, strides, pads)

    return (lax.platform_dependent(*saved, dy, cpu=gather, default=plain),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _max_pool_gradient(x, y, dy, window, strides, pads):
    """`dy` at the first place of each window that holds its maximum; 0 elsewhere.

    XLA's scatter is many times slower on a CPU.  Places of the input that are equal modulo
    the stride are reached by the same taps: each such phase is a sum of shifted images.
    """
    sizes, outs, taps = x.shape[1:-1], y.shape[1:-1], list(itertools.product(*map(range, window)))

    def find(parts):
        """The first tap that holds the maximum of each window of one example."""
        x, y, dy = parts
        padded = jnp.pad(x, (*pads, (0, 0)), constant_values=-jnp.inf)
        first = jnp.full(y.shape, len(taps), jnp.int32)
        for k, tap in reversed(list(enumerate(taps))):
            places = (slice(i, i + (o - 1) * s + 1, s) for i, o, s in zip(tap, outs, strides))
            first = jnp.where(padded[*places] == y, k, first)
        return first, dy

    # In a loop, `dy` too: XLA would fuse what makes the two into each of their many uses.
    first, dy = lax.map(find, (x, y, dy))
    zero = jnp.zeros((), dy.dtype)
    lengths = [-(-n // s) for n, s in zip(sizes, strides)]  # Of a phase.

    def phase(r):
        total = jnp.zeros((dy.shape[0], *lengths, dy.shape[-1]), dy.dtype)
        for k, tap in enumerate(taps):
            moves = [i - p[0] - at for i, p, at in zip(tap, pads, r)]
            if not any(move % s for move, s in zip(moves, strides)):
                shifts = [move // s for move, s in zip(moves, strides)]
                edges = [(m, n - m - o, 0) for m, n, o in zip(shifts, lengths, outs)]
                share = jnp.where(first == k, dy, zero)
                total += lax.pad(share, zero, ((0, 0, 0), *edges, (0, 0, 0)))
        return total

    def weave(r):
        """The phases that begin with `r`, interleaved along the axes after those."""
        axis = len(r) + 1
        if axis > len(strides):
            return phase(r)
        parts = [weave((*r, i)) for i in range(strides[axis - 1])]
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] *= len(parts)
        return jnp.stack(parts, axis + 1).reshape(shape)

    return weave(())[:, *map(slice, sizes)]
