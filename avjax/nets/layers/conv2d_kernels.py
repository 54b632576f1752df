"""The 2-D convolution that all others use, and its gradients.

On a CPU the gradient of the kernel is our own, and images are laid side by side; GPUs and TPUs use
XLA's, which has not been compared there.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from avjax.types import Array

IMAGES = ("NHWC", "HWIO", "NHWC")


def _plain(x, w, strides, pads):
    return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=IMAGES)


def _side_by_side(x, w, strides, pads):
    """`_plain` of all images as one, side by side, with zeros in between.

    A CPU's threads split only the channels and positions of one row: a row of one image with few
    channels keeps only one thread busy.
    """
    (n, _, width, _), (_, kw, _, co), stride = x.shape, w.shape, strides[1]
    if n == 1 or width >= 128 * stride or w.size >= 1 << 17:  # No faster.
        return _plain(x, w, strides, pads)
    out = (width + sum(pads[1]) - kw) // stride + 1
    gap = max(pads[1][0], (out - 1) * stride + kw - pads[1][0] - width)
    each = -(-(width + gap) // stride) * stride
    x = jnp.pad(x, ((0, 0), (0, 0), (0, each - width), (0, 0))).swapaxes(0, 1)
    x = x.reshape(1, x.shape[0], n * each, x.shape[-1])
    y = _plain(x, w, strides, (pads[0], (pads[1][0], max(kw - stride - pads[1][0], 0))))
    return y.reshape(-1, n, each // stride, co).swapaxes(0, 1)[:, :, :out]


def conv2d(
    x: Array, w: Array, strides: tuple[int, int], pads: tuple[tuple[int, int], ...]
) -> Array:
    """Convolves images.

    Args:
      x: [N, H, W, C].
      w: kernel [kh, kw, C, Cout].
      strides: (height, width).
      pads: (before, after) of height and width.

    Returns:
      [N, H', W', Cout].
    """
    return _conv2d(x, w, strides, pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d(x, w, strides, pads):
    # Chosen where the program is lowered, not by the backend of this process: a TPU
    # program may be compiled on a machine that has none.
    plain, fast = (
        functools.partial(f, strides=strides, pads=pads) for f in (_plain, _side_by_side)
    )
    return lax.platform_dependent(x, w, cpu=lambda x, w: _unfused(fast(x, w)), default=plain)


def _conv2d_forward(x, w, strides, pads):
    return _conv2d(x, w, strides, pads), (x, w)


def _conv2d_backward(strides, pads, saved, dy):
    def transposed(f, x, w, dy):
        return jax.linear_transpose(lambda x: f(x, w, strides, pads), x)(dy)[0]

    def plain(x, w, dy):
        (dw,) = jax.linear_transpose(lambda w: _plain(x, w, strides, pads), w)(dy)
        return transposed(_plain, x, w, dy), dw

    def fast(x, w, dy):
        dw = _weight_gradient(x, dy, w.shape[:2], strides, pads).astype(w.dtype)
        if dy.size < dy.shape[-1] ** 2:  # Fewer places than channels.
            return _input_gradient(x.shape, w, dy, strides, pads), dw
        return transposed(_side_by_side if strides == (1, 1) else _plain, x, w, dy), dw

    return lax.platform_dependent(*saved, dy, cpu=fast, default=plain)


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _unfused(y):
    """y [N, H', W', Cout] itself, if of 16 bits kept out of a CPU's fusions with what follows it.

    In these, jaxlib 0.11 and 0.12 make NaN of two rectified convolutions and a sum or maximum.
    """
    return lax.optimization_barrier(y) if y.dtype.itemsize < 4 else y


def _weight_gradient(x, dy, kernel, strides, pads, block_bytes=4 << 20):
    """The gradient [kh, kw, C, Cout] of the kernel: a matmul over all positions of their taps.

    Positions are processed in blocks, some images or some rows of one, whose taps fit the cache.
    XLA's gradient runs on one thread on a CPU if there are few channels.
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
    bands = next((b for b in range(bands, 2 * bands) if ho % b == 0), bands)
    band = -(-ho // bands)
    rows = (band - 1) * sh + kh  # Of the input, under one band.
    below = (bands * band - 1) * sh + kh - x.shape[1] - pads[0][0]

    def pad(x):
        edges = ((0, 0, 0), (pads[0][0], below, 0), (*pads[1], 0), (0, 0, 0))
        return lax.pad(x, jnp.zeros((), x.dtype), edges)

    if bands > 1:
        x, dy = pad(x), jnp.pad(dy, ((0, 0), (0, bands * band - ho), (0, 0), (0, 0)))

    def one(x, dy):
        x = x if bands > 1 else pad(x)  # Here, in the cache, if blocks are whole images.
        down = [slice(i, i + (band - 1) * sh + 1, sh) for i in range(kh)]
        across = [slice(j, j + (wo - 1) * sw + 1, sw) for j in range(kw)]
        taps = jnp.concatenate([x[:, i, j] for i in down for j in across], -1)
        # Widened first: a CPU has no matmul of bfloat16 that is summed in float32.
        dy, taps = (a.astype(accumulator).reshape(-1, a.shape[-1]) for a in (dy, taps))
        return lax.dot_general(dy, taps, (((0,), (0,)), ((), ())))

    def add(total, k):
        i, j = k // bands * group, k % bands * band
        size = (group, rows if bands > 1 else x.shape[1], *x.shape[2:])
        part = lax.dynamic_slice(x, (i, j * sh, 0, 0), size)
        return total + one(part, lax.dynamic_slice(dy, (i, j, 0, 0), (group, band, wo, co))), None

    count = n // group * bands
    if count == 1:
        total = one(x, dy)
    else:
        total, _ = lax.scan(add, jnp.zeros((co, kh * kw * c), accumulator), jnp.arange(count))
    if n * ho * wo > kh * kw * c:
        # As [Cout, taps] the matmul is faster than as [taps, Cout].  The barrier
        # keeps XLA from turning it round, which is good only for a large kernel.
        total = lax.optimization_barrier(total)
    return total.T.reshape(*kernel, c, co)


def _input_gradient(shape, w, dy, strides, pads):
    """The gradient [N, H, W, C] of a small image: each tap's share, added at its position.

    XLA would first transpose the kernel, which takes a CPU longer than the rest if the kernel is
    larger than the image.
    """
    accumulator = jnp.promote_types(dy.dtype, jnp.float32)
    rows, taps = (a.astype(accumulator).reshape(-1, a.shape[-1]) for a in (dy, w))
    shares = lax.dot_general(rows, taps, (((1,), (1,)), ((), ())))
    shares = shares.reshape(*dy.shape[:-1], *w.shape[:-1])  # [N, H', W', kh, kw, C]
    total = jnp.zeros(shape, accumulator)
    for tap in itertools.product(range(w.shape[0]), range(w.shape[1])):
        edges = [(0, 0, 0)]
        for k, n, o, s, p in zip(tap, shape[1:3], dy.shape[1:3], strides, pads):
            edges.append((k - p[0], n - (k - p[0]) - (o - 1) * s - 1, s - 1))
        total += lax.pad(shares[:, :, :, *tap], jnp.zeros((), accumulator), (*edges, (0, 0, 0)))
    return total.astype(dy.dtype)
