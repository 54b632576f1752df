"""Convolutions of images and clips, in the form that each backend runs fastest.

Nets say what they compute, [N, T, H, W, C] with a kernel [kt, kh, kw, Cin, Cout]; this file and
conv2d_kernels.py define how.  A (1, k, k) or (k, 1, 1) kernel of a clip is a 2-D convolution after
a reshape: a CPU takes seven times as long for the 5-D form of a stem.  Padding is explicit: half of
the kernel on each side, as in PyTorch, or `same_padding` for nets of TensorFlow, which pads strided
ones less, and less before than after.

`benchmarks/step.py` compares a training step with PyTorch's.
"""

import functools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

from avjax.nets.layers.conv2d_kernels import conv2d
from avjax.types import Array

CLIPS = ("NTHWC", "THWIO", "NTHWC")

# PyTorch's default: uniform within +-1/sqrt(fan_in).
uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def spatial(
    x: Array, w: Array, strides: tuple[int, int], pads: tuple[tuple[int, int], ...]
) -> Array:
    """Convolves each frame of a clip on its own.

    Args:
      x: [N, T, H, W, C].
      w: kernel [kh, kw, C, Cout].
      strides: (height, width).
      pads: (before, after) of height and width.

    Returns:
      [N, T, H', W', Cout].
    """
    n, t = x.shape[:2]
    y = conv2d(x.reshape(n * t, *x.shape[2:]), w, strides, pads)
    return y.reshape(n, t, *y.shape[1:])


def temporal(x: Array, w: Array, stride: int, pad: tuple[int, int]) -> Array:
    """Convolves each position of the frame on its own, over time.

    Args:
      x: [N, T, H, W, C].
      w: kernel [kt, C, Cout].
      stride: in time.
      pad: (before, after).

    Returns:
      [N, T', H, W, Cout].
    """
    if stride > 1 and w.shape[0] > 2 * stride and stride * x.shape[-1] <= 64:  # Raw audio.
        x, w = _strides_as_channels(x, w, stride, pad)
        stride, pad = 1, (0, 0)
    n, t, h, width, c = x.shape
    y = conv2d(x.reshape(n, t, h * width, c), w[:, None], (stride, 1), (pad, (0, 0)))
    return y.reshape(n, y.shape[1], h, width, w.shape[-1])


def _strides_as_channels(x, w, stride, pad):
    """The same convolution with a stride of 1 and no padding: few channels starve a matmul.

    [N, T, H, W, C] and [kt, C, Cout] -> [N, T' / stride, H, W, stride * C] and
    [ceil(kt / stride), stride * C, Cout]; T' is T with its padding, to a multiple of the stride.
    """
    kt, c, co = w.shape
    out = (x.shape[1] + sum(pad) - kt) // stride + 1
    taps = -(-kt // stride)
    w = jnp.pad(w, ((0, taps * stride - kt), (0, 0), (0, 0))).reshape(taps, stride * c, co)
    after = (out - 1 + taps) * stride - x.shape[1] - pad[0]  # Negative: what no tap sees.
    edges = ((0, 0, 0), (pad[0], after, 0), *((0, 0, 0),) * 3)
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    n, t, *place, _ = x.shape
    x = jnp.moveaxis(x.reshape(n, t // stride, stride, *place, c), 2, 4)
    return x.reshape(n, t // stride, *place, stride * c), w


def pointwise(x: Array, w: Array, strides: tuple[int, int, int]) -> Array:
    """Convolves with a kernel of one position.

    Args:
      x: [N, T, H, W, C].
      w: kernel [C, Cout].
      strides: (time, height, width).

    Returns:
      [N, T', H', W', Cout].
    """
    x = x[:, :: strides[0], :: strides[1], :: strides[2]]
    y = conv2d(x.reshape(-1, *x.shape[2:]), w[None, None], (1, 1), ((0, 0), (0, 0)))
    return y.reshape(*x.shape[:-1], -1)


def full(
    x: Array, w: Array, strides: tuple[int, int, int], pads: tuple[tuple[int, int], ...]
) -> Array:
    """Convolves over time and space; on a CPU in 2-D, with temporal taps as channels.

    Args:
      x: [N, T, H, W, C].
      w: kernel [kt, kh, kw, C, Cout].
      strides: (time, height, width).
      pads: (before, after) of each axis.

    Returns:
      [N, T', H', W', Cout].
    """

    if w.shape[0] * w.shape[3] <= 16:  # A stem: few channels starve a matrix unit.
        return taps_as_channels(x, w, strides, pads)
    fold, plain = (
        functools.partial(f, strides=strides, pads=pads) for f in (taps_as_channels, direct)
    )
    # The input is copied kt times: again for the gradient rather than kept for it.
    return lax.platform_dependent(x, w, cpu=jax.checkpoint(fold), default=plain)


def taps_as_channels(
    x: Array, w: Array, strides: tuple[int, int, int], pads: tuple[tuple[int, int], ...]
) -> Array:
    """`full` as a 2-D convolution of each frame with its neighbors in time as channels.

    Args and Returns: as `full`.
    """
    kt, kh, kw, c, co = w.shape
    x = jnp.pad(x, ((0, 0), pads[0], *((0, 0),) * 3))
    t = (x.shape[1] - kt) // strides[0] + 1
    taps = [x[:, i : i + (t - 1) * strides[0] + 1 : strides[0]] for i in range(kt)]
    w = jnp.moveaxis(w, 0, 2).reshape(kh, kw, kt * c, co)
    return spatial(jnp.concatenate(taps, -1), w, strides[1:], pads[1:])


def direct(
    x: Array, w: Array, strides: tuple[int, int, int], pads: tuple[tuple[int, int], ...]
) -> Array:
    """`full` as XLA's own 3-D convolution.

    Args and Returns: as `full`.
    """
    return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=CLIPS)


def conv3d(
    x: Array,
    w: Array,
    strides: tuple[int, int, int] = (1, 1, 1),
    pads: tuple[tuple[int, int], ...] | None = None,
) -> Array:
    """Convolves clips, in the form that is fastest for the shape of the kernel.

    Args:
      x: [N, T, H, W, C].
      w: kernel [kt, kh, kw, C, Cout].
      strides: (time, height, width).
      pads: three pairs (before, after); None for half of the kernel on each side.

    Returns:
      [N, T', H', W', Cout].
    """
    pads = _half_padding(w.shape[:3]) if pads is None else pads
    kt, kh, kw = w.shape[:3]
    if (kt, kh, kw) == (1, 1, 1) and not any(map(sum, pads)):
        return pointwise(x, w[0, 0, 0], strides)
    if kt == 1 and strides[0] == 1 and not sum(pads[0]):
        return spatial(x, w[0], strides[1:], pads[1:])
    if kh == kw == 1 and strides[1:] == (1, 1) and not sum(map(sum, pads[1:])):
        return temporal(x, w[:, 0, 0], strides[0], pads[0])
    return full(x, w, strides, pads)


def _half_padding(kernel: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple((k // 2, k // 2) for k in kernel)


def same_padding(
    sizes: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Returns TensorFlow's SAME padding: pairs (before, after), the odd one after.

    Args:
      sizes, window, strides: of the axes to pad.
    """
    totals = (max(k - (n % s or s), 0) for n, k, s in zip(sizes, window, strides))
    return tuple((total // 2, total - total // 2) for total in totals)


class Conv3D(nn.Module):
    """`conv3d` with its kernel [kt, kh, kw, C, Cout]; no bias."""

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int] = (1, 1, 1)
    pads: tuple | None = None
    dtype: str | jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = uniform

    @nn.compact
    def __call__(self, x: Array) -> Array:
        w = self.param("kernel", self.kernel_init, (*self.kernel, x.shape[-1], self.features))
        x, w = promote_dtype(x, w, dtype=self.dtype)
        return conv3d(x, w, self.strides, self.pads)


class Conv2D(nn.Module):
    """`conv2d` with its kernel [kh, kw, C, Cout] and, with `use_bias`, a bias [Cout].

    The default initial values are PyTorch's.
    """

    features: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple | None = None
    dtype: str | jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = uniform
    use_bias: bool = False
    bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*self.kernel, x.shape[-1], self.features)
        bound = math.prod(shape[:3]) ** -0.5

        def within(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        w, b = self.param("kernel", self.kernel_init, shape), None
        if self.use_bias:
            b = self.param("bias", self.bias_init or within, (self.features,))
        x, w = promote_dtype(x, w, dtype=self.dtype)
        pads = _half_padding(self.kernel) if self.pads is None else self.pads
        y = conv2d(x, w, self.strides, pads)
        return y if b is None else add_bias(y, b)


def add_bias(y: Array, b: Array) -> Array:
    """Adds a bias in float32 at least, in which its gradient is summed over all places too.

    Args:
      y: [..., C].
      b: [C].

    Returns:
      [..., C] of the type of `y`.
    """
    wide = jnp.promote_types(y.dtype, jnp.float32)
    total = y.astype(wide) + jnp.expand_dims(b.astype(wide), range(y.ndim - 1))
    return total.astype(y.dtype)
