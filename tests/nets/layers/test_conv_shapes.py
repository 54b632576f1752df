"""The convolutions of a training step as they reach a CPU's compiler: their shapes, not their time.

docs/results/speed.md says what these shapes are for.  Nothing is compiled.
"""

import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from avjax.nets.video import avid_r2plus1d, resnet3d

NETS = {"avid": avid_r2plus1d.R2Plus1D(10), "r3d": resnet3d.r3d(10), "vmz": resnet3d.r2plus1d(10)}
LARGE = 1 << 17  # Weights of a kernel that keeps a CPU busy with one image.
WIDE = 128  # Places of a row that do.


class Convolution(NamedTuple):
    """A convolution of a program: its layout, the shapes of its arguments, its strides."""

    layout: str
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilated: bool  # The input gradient of a strided convolution.


def training_step(net, platform="cpu"):
    """(text of the gradient of a loss, number of convolutional layers)."""
    x = jax.ShapeDtypeStruct((2, 8, 112, 112, 3), jnp.float32)
    variables = jax.eval_shape(lambda key, x: net.init(key, x, False), jax.random.key(0), x)

    def loss(params, stats, x):
        out, new = net.apply(
            {"params": params, "batch_stats": stats}, x, True, mutable=["batch_stats"]
        )
        return jnp.square(out).mean(), new

    args = variables["params"], variables["batch_stats"], x
    traced = jax.jit(jax.grad(loss, has_aux=True)).trace(*args)
    kernels = [leaf for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim > 2]
    return traced.lower(lowering_platforms=(platform,)).as_text(), len(kernels)


def convolutions(text):
    """The Convolutions of a program."""
    for line in text.splitlines():
        if "stablehlo.convolution" not in line:
            continue
        shapes = re.findall(r"tensor<([\dx]+)x\w+>", line)
        strides, dilation = (
            tuple(map(int, re.search(rf"{name} = \[([\d, ]+)\]", line)[1].split(",")))
            for name in ("stride", "lhs_dilate")
        )
        sizes = (tuple(map(int, shape.split("x"))) for shape in shapes[:2])
        layout = re.search(r"dim_numbers = (.*?), window", line)[1]
        yield Convolution(layout, *sizes, strides, max(dilation) > 1)


@pytest.fixture(scope="module", params=NETS)
def step(request):
    return training_step(NETS[request.param])


def test_all_convolutions_on_a_cpu_are_two_dimensional(step):
    text, layers = step
    found = list(convolutions(text))
    assert len(found) >= layers
    assert {len(conv.input) for conv in found} == {4}


def test_gradients_of_kernels_on_a_cpu_are_products(step):
    """XLA's own, a convolution of the input with the gradient, has the batch where channels are."""
    text, layers = step
    layouts = {conv.layout for conv in convolutions(text)}
    assert layouts <= {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]",
                       "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]"}  # fmt: skip
    assert text.count("stablehlo.dot_general") >= layers


def test_narrow_images_on_a_cpu_are_side_by_side(step):
    """One image at a time, a row of few channels keeps one thread busy."""
    side_by_side = 0
    for conv in convolutions(step[0]):
        images, width, columns = conv.input[0], conv.input[2], conv.strides[1]
        if not conv.dilated and math.prod(conv.kernel) < LARGE:
            assert images == 1 or width >= WIDE * columns, conv
            side_by_side += images == 1
    assert side_by_side >= 4


def test_a_gpu_gets_its_own_convolutions():
    """None of the CPU's forms, but for the 2-D convolutions of kernels that are flat in an axis."""
    text, layers = training_step(NETS["r3d"], "cuda")
    found = list(convolutions(text))
    assert {len(conv.input) for conv in found} == {4, 5}
    assert len(found) == 3 * layers - 1  # The input of the first layer has no gradient.
    assert "stablehlo.while" not in text and "stablehlo.dot_general" not in text
