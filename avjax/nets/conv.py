"""Convolutions and max-pooling of pictures and clips, in the form each backend runs fastest.

The nets say what they compute, [N, T, H, W, C] with a kernel [kt, kh, kw, Cin, Cout];
this file alone knows how.  A (1, k, k) or (k, 1, 1) kernel of a clip is a 2-D convolution
after a reshape, which every backend runs better than its 5-D one.  Padding is explicit
and symmetric, as in PyTorch: XLA's "SAME" pads a strided convolution on one side only.

Measured with `benchmarks/step.py`; see there for the numbers.
"""

import functools

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
    """[N, H, W, C] * [kh, kw, C, Cout] -> [N, H', W', Cout]; pads ((top, bottom), (left, right))."""
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


def _weight_gradient(x, dy, kernel, strides, pads, block_bytes=4 << 20):
    """The gradient [kh, kw, C, Cout] of the kernel as matmuls, one a tap.

    XLA's own form of it is several times slower on a CPU than all the rest of a step.
    The batch is taken in blocks whose taps stay in the cache.
    """
    n, h, width, c = x.shape
    _, ho, wo, co = dy.shape
    accumulator = jnp.promote_types(x.dtype, jnp.float32)
    group = max(1, min(n, block_bytes // ((h * width * c + ho * wo * co) * 4)))
    while n % group:
        group -= 1
    # A tap of few channels makes a thin matrix: take all taps in one matmul then.
    together = kernel[0] * kernel[1] * c <= 256 or ho * wo * group < 1024

    def taps(x):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                rows = slice(i, i + (ho - 1) * strides[0] + 1, strides[0])
                columns = slice(j, j + (wo - 1) * strides[1] + 1, strides[1])
                yield x[:, rows, columns].reshape(-1, c)

    def dot(a, b):
        return lax.dot_general(a, b, (((0,), (0,)), ((), ())), preferred_element_type=accumulator)

    def one(x, dy):
        dy = dy.reshape(-1, co)
        if together:
            return dot(jnp.concatenate(list(taps(x)), -1), dy).reshape(*kernel, c, co)
        return jnp.stack([dot(tap, dy) for tap in taps(x)]).reshape(*kernel, c, co)

    if group == n:
        return one(x, dy)
    blocks = x.reshape(-1, group, h, width, c), dy.reshape(-1, group, ho, wo, co)
    start = jnp.zeros((*kernel, c, co), accumulator)
    return lax.scan(lambda total, block: (total + one(*block), None), start, blocks)[0]


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
    pads = _half(window) if pads is None else pads
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    )


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
