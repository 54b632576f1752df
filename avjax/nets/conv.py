"""Convolutions and max-pooling of pictures and clips, in the form each backend runs fastest.

The nets say what they compute, [N, T, H, W, C] with a kernel [kt, kh, kw, Cin, Cout];
this file alone knows how.  A (1, k, k) or (k, 1, 1) kernel of a clip is a 2-D convolution
after a reshape, which every backend runs better than its 5-D one.  Padding is explicit
and symmetric, as in PyTorch: XLA's "SAME" pads a strided convolution on one side only.

Measured with `benchmarks/step.py`; see there for the numbers.
"""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

PICTURES = ("NHWC", "HWIO", "NHWC")
CLIPS = ("NTHWC", "THWIO", "NTHWC")

# PyTorch's default: uniform within +-1/sqrt(fan_in).
uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _plain(x, w, strides, pads):
    return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=PICTURES)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(x, w, strides, pads):
    """[N, H, W, C] * [kh, kw, C, Cout] -> [N, H', W', Cout]; pads are pairs."""
    return _plain(x, w, strides, pads)


def _conv2d_forward(x, w, strides, pads):
    return _plain(x, w, strides, pads), (x, w)


def _conv2d_backward(strides, pads, saved, dy):
    x, w = saved
    (dx,) = jax.linear_transpose(lambda x: _plain(x, w, strides, pads), x)(dy)

    def plain(x, dy):
        return jax.linear_transpose(lambda w: _plain(x, w, strides, pads), w)(dy)[0]

    def matmuls(x, dy):
        return _weight_gradient(x, dy, w.shape[:2], strides, pads).astype(w.dtype)

    # Chosen where the program is lowered, not by the backend of this process: a TPU
    # program may be compiled on a machine that has none.
    return dx, lax.platform_dependent(x, dy, cpu=matmuls, default=plain)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _weight_gradient(x, dy, kernel, strides, pads, block_bytes=2 << 20):
    """The gradient [kh, kw, C, Cout] of the kernel: a matmul over all places of their taps.

    XLA's own form of it takes longer on a CPU than all the rest of a step.  The places are
    taken in blocks, some pictures or some rows of one, whose taps fit the cache.
    """
    (n, _, _, c), (_, ho, wo, co) = x.shape, dy.shape
    (kh, kw), (sh, sw) = kernel, strides
    accumulator = jnp.promote_types(x.dtype, jnp.float32)
    # At least 256 places: each block also reads and writes all of the sum.
    places = max(256, block_bytes // (4 * kh * kw * c))
    group = max(1, min(n, places // (ho * wo)))
    while n % group:
        group -= 1
    bands = 1 if group > 1 else -(-ho // max(1, places // wo))
    band = -(-ho // bands)
    rows = (band - 1) * sh + kh  # Of the input, under one band.
    below = (bands * band - 1) * sh + kh - x.shape[1] - pads[0][0]
    x = lax.pad(
        x, jnp.zeros((), x.dtype), ((0, 0, 0), (pads[0][0], below, 0), (*pads[1], 0), (0, 0, 0))
    )
    dy = jnp.pad(dy, ((0, 0), (0, bands * band - ho), (0, 0), (0, 0)))

    def one(x, dy):
        down = [slice(i, i + (band - 1) * sh + 1, sh) for i in range(kh)]
        across = [slice(j, j + (wo - 1) * sw + 1, sw) for j in range(kw)]
        taps = jnp.concatenate([x[:, i, j] for i in down for j in across], -1)
        over = ((0, 1, 2), (0, 1, 2)), ((), ())
        return lax.dot_general(dy, taps, over, preferred_element_type=accumulator)

    def add(total, k):
        i, j = k // bands * group, k % bands * band
        part = lax.dynamic_slice(x, (i, j * sh, 0, 0), (group, rows, *x.shape[2:]))
        return total + one(part, lax.dynamic_slice(dy, (i, j, 0, 0), (group, band, wo, co))), None

    count = n // group * bands
    if count == 1:
        total = one(x, dy)
    else:
        total, _ = lax.scan(add, jnp.zeros((co, kh * kw * c), accumulator), jnp.arange(count))
    # As [Cout, taps] the matmul is a third faster than as [taps, Cout]; the barrier keeps
    # XLA from turning it round again.
    return lax.optimization_barrier(total).T.reshape(*kernel, c, co)


def spatial(x, w, strides, pads):
    """[N, T, H, W, C] * [kh, kw, C, Cout]: each picture of a clip for itself."""
    n, t = x.shape[:2]
    y = conv2d(x.reshape(n * t, *x.shape[2:]), w, strides, pads)
    return y.reshape(n, t, *y.shape[1:])


def temporal(x, w, stride, pad):
    """[N, T, H, W, C] * [kt, C, Cout]: each place of the picture for itself."""
    n, t, h, width, c = x.shape
    y = conv2d(x.reshape(n, t, h * width, c), w[:, None], (stride, 1), (pad, (0, 0)))
    return y.reshape(n, y.shape[1], h, width, w.shape[-1])


def pointwise(x, w, strides):
    """[N, T, H, W, C] * [C, Cout] at every `strides`-th place."""
    x = x[:, :: strides[0], :: strides[1], :: strides[2]]
    return x @ w


def full(x, w, strides, pads):
    """[N, T, H, W, C] * [kt, kh, kw, C, Cout] as a 2-D one: the taps of time become channels.

    The input is so copied kt times; it is copied again for the gradient, not kept.
    """

    @jax.checkpoint
    def fold(x, w):
        kt, kh, kw, c, co = w.shape
        x = jnp.pad(x, ((0, 0), pads[0], *((0, 0),) * 3))
        t = (x.shape[1] - kt) // strides[0] + 1
        taps = [x[:, i : i + (t - 1) * strides[0] + 1 : strides[0]] for i in range(kt)]
        w = jnp.moveaxis(w, 0, 2).reshape(kh, kw, kt * c, co)
        return spatial(jnp.concatenate(taps, -1), w, strides[1:], pads[1:])

    def plain(x, w):
        return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=CLIPS)

    if w.shape[0] * w.shape[3] <= 16:  # A stem: few channels starve a matrix unit.
        return fold(x, w)
    return lax.platform_dependent(x, w, cpu=fold, default=plain)


def conv3d(x, w, strides=(1, 1, 1), pads=None):
    """[N, T, H, W, C] * [kt, kh, kw, C, Cout] -> [N, T', H', W', Cout].

    `pads` are three pairs (before, after); without them, half of the kernel on each side.
    """
    pads = _half(w.shape[:3]) if pads is None else pads
    kt, kh, kw = w.shape[:3]
    if (kt, kh, kw) == (1, 1, 1) and not any(map(sum, pads)):
        return pointwise(x, w[0, 0, 0], strides)
    if kt == 1 and strides[0] == 1 and not sum(pads[0]):
        return spatial(x, w[0], strides[1:], pads[1:])
    if kh == kw == 1 and strides[1:] == (1, 1) and not sum(map(sum, pads[1:])):
        return temporal(x, w[:, 0, 0], strides[0], pads[0])
    return full(x, w, strides, pads)


def max_pool(x, window, strides, pads=None):
    """The largest of each window over the axes between the first and the last of `x`."""
    return _max_pool(x, window, strides, _half(window) if pads is None else pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x, window, strides, pads):
    all_pads = ((0, 0), *pads, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), all_pads)


def _max_pool_forward(x, window, strides, pads):
    y = _max_pool(x, window, strides, pads)
    return y, (x, y)


def _max_pool_backward(window, strides, pads, saved, dy):
    def plain(x, y, dy):
        return jax.vjp(lambda x: _max_pool.fun(x, window, strides, pads), x)[1](dy)[0]

    def gather(x, y, dy):
        return _max_pool_gradient(x, y, dy, window, strides, pads)

    return (lax.platform_dependent(*saved, dy, cpu=gather, default=plain),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _max_pool_gradient(x, y, dy, window, strides, pads):
    """`dy` at the first place of each window that holds its maximum; 0 elsewhere.

    XLA's scatter is 15 times slower on a CPU.  Places of the input that are equal modulo
    the stride are reached by the same taps: each such phase is a sum of shifted pictures.
    """
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    outs, taps = y.shape[1:-1], list(itertools.product(*map(range, window)))
    first = jnp.full(y.shape, len(taps), jnp.int32)
    for k, tap in reversed(list(enumerate(taps))):
        places = (slice(i, i + (o - 1) * s + 1, s) for i, o, s in zip(tap, outs, strides))
        first = jnp.where(padded[:, *places] == y, k, first)

    most = [(w - 1) // s for w, s in zip(window, strides)]  # The farthest a tap shifts.

    def phase(r):
        total = jnp.zeros((), dy.dtype)
        for k, tap in enumerate(taps):
            if all(i % s == r for i, s, r in zip(tap, strides, r)):
                shift = [(i // s, m - i // s) for i, s, m in zip(tap, strides, most)]
                total += jnp.pad(jnp.where(first == k, dy, 0), ((0, 0), *shift, (0, 0)))
        shape = (dy.shape[0], *(o + m for o, m in zip(outs, most)), dy.shape[-1])
        return jnp.broadcast_to(total, shape)  # No tap: a stride beyond the window.

    def weave(r, axis):
        """The phases that begin with `r`, interleaved along the axes from `axis` on."""
        if axis > len(strides):
            return phase(r)
        parts = [weave((*r, i), axis + 1) for i in range(strides[axis - 1])]
        shape = list(parts[0].shape)
        shape[axis] *= len(parts)
        return jnp.stack(parts, axis + 1).reshape(shape)

    dx = weave((), 1)
    # A place that no window covers, at the end, has no gradient.
    sizes = [max(n, p[0] + size) for n, p, size in zip(dx.shape[1:-1], pads, x.shape[1:-1])]
    ends = [(0, n - old) for n, old in zip(sizes, dx.shape[1:-1])]
    inside = (slice(p[0], p[0] + size) for p, size in zip(pads, x.shape[1:-1]))
    return jnp.pad(dx, ((0, 0), *ends, (0, 0)))[:, *inside]


def _half(kernel):
    return tuple((k // 2, k // 2) for k in kernel)


class Conv3D(nn.Module):
    """`conv3d` and its kernel [kt, kh, kw, C, Cout]; no bias."""

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int] = (1, 1, 1)
    pads: tuple | None = None
    dtype: str | jnp.dtype | None = None
    init: nn.initializers.Initializer = uniform

    @nn.compact
    def __call__(self, x):
        w = self.param("kernel", self.init, (*self.kernel, x.shape[-1], self.features))
        x, w = nn.dtypes.promote_dtype(x, w, dtype=self.dtype)
        return conv3d(x, w, self.strides, self.pads)


class Conv2D(nn.Module):
    """`conv2d` and its kernel [kh, kw, C, Cout]; no bias."""

    features: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple | None = None
    dtype: str | jnp.dtype | None = None
    init: nn.initializers.Initializer = uniform

    @nn.compact
    def __call__(self, x):
        w = self.param("kernel", self.init, (*self.kernel, x.shape[-1], self.features))
        x, w = nn.dtypes.promote_dtype(x, w, dtype=self.dtype)
        return conv2d(x, w, self.strides, _half(self.kernel) if self.pads is None else self.pads)
