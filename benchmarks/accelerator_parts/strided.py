"""The gradients of each strided convolution of whole nets, in each form that `nets/layers` has.

On GPUs XLA's strided convolutions have been slow in their gradients
(https://github.com/jax-ml/jax/issues/31662, https://github.com/openxla/xla/issues/34273).  The form
is chosen in `avjax/nets/layers/conv.py` (`conv3d`, `full`) and `conv2d_kernels.py`; a row says
which one is in use and which is fastest here.  PyTorch computes in bfloat16 and channels last, too.
"""

import concurrent.futures
import functools
import importlib.util
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from avjax.nets.layers import conv, conv2d_kernels
from avjax.training.precision import low_precision_convs
from benchmarks import step, timing
from benchmarks.accelerator_parts import report
from benchmarks.accelerator_parts.step import DRY_SIZE, SIZES

TITLE = "gradients of strided convolutions"
NETS = ("r3d", "avid", "vmz", "i3d")
CALLS, REPS, SECONDS = 5, 5, 1.0
BLOCK_BYTES = 1 << 30  # All taps at once: a GPU has the memory.


class Case(NamedTuple):
    """A strided convolution of a net: paths of its layers, shapes, strides, three pairs of pads."""

    paths: tuple[str, ...]
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, int, int]
    pads: tuple[tuple[int, int], ...]


def run(add, dry):
    """A row per convolution and gradient; those of one net after those of another."""
    seen = set()
    for name in NETS[:1] if dry else NETS:
        found = [case for case in cases(name, dry) if case[1:] not in seen]
        seen |= {case[1:] for case in found}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:  # Compiling is slow.
            made = [(case, pool.submit(sides, case)) for case in (found[1:2] if dry else found)]
            concurrent.futures.wait([future for _, future in made])  # Measured alone.
            for case, future in made:
                rows(add, name, case, future)


def cases(name, dry):
    """The strided convolutions of a net in bfloat16, for the batch that `step` measures."""
    clips, frames, size = DRY_SIZE if dry else SIZES[name]
    net = step.NETS[name](dtype="bfloat16")
    x = jax.ShapeDtypeStruct((clips, frames, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, False), x)
    train = lambda variables, x: net.apply(variables, x, True, mutable=["batch_stats"])
    for spec, paths in low_precision_convs(train, variables, x):
        layer = spec.layer
        if max(layer.strides) > 1:
            half = tuple((k // 2, k // 2) for k in layer.kernel)
            pads = half if layer.pads is None else tuple(map(tuple, layer.pads))
            yield Case(tuple(paths), spec.shape, spec.params["kernel"], layer.strides, pads)


def forms(case):
    """({name: (x, w) -> y}, the name of the one that the nets use)."""
    (kt, kh, kw, c, _), others = case.kernel, {"5-D": conv.direct}
    if kt > 1 and kh * kw > 1:
        others["taps as channels"] = conv.taps_as_channels
        used = "taps as channels" if kt * c <= 16 else "5-D"
    else:
        others["2-D"], used = conv.conv3d, "2-D"
    how = {"strides": case.strides, "pads": case.pads}
    return {name: functools.partial(f, **how) for name, f in others.items()}, used


def sides(case):
    """{gradient: {form: () -> seconds}} of ours, compiled, and the arrays [x, w, dy]."""
    rng, (named, _) = np.random.default_rng(0), forms(case)
    x, w = (jnp.asarray(rng.standard_normal(s, np.float32), "bfloat16") for s in case[1:3])
    shape = jax.eval_shape(named["5-D"], x, w).shape
    dy = jnp.asarray(rng.standard_normal(shape, np.float32), "bfloat16")
    found = {"kernel": {n: compiled(kernel_gradient(f), x, w, dy) for n, f in named.items()}}
    if flat := flat_gradient(case):
        found["kernel"]["2-D, product of taps"] = compiled(flat, x, w, dy)
    if case.input[-1] > 3:  # Frames have no gradient.
        found["input"] = {n: compiled(input_gradient(f), x, w, dy) for n, f in named.items()}
    return found, (x, w, dy)


def kernel_gradient(f):
    return lambda x, w, dy: jax.vjp(lambda w: f(x, w), w)[1](dy)[0]


def input_gradient(f):
    return lambda x, w, dy: jax.vjp(lambda x: f(x, w), x)[1](dy)[0]


def flat_gradient(case):
    """The kernel's gradient in the CPU's form, of kernels that are flat in time; else None."""
    if case.kernel[0] > 1 or case.strides[0] > 1:
        return None
    flat = lambda x: x.reshape(-1, *x.shape[2:])

    def gradient(x, w, dy):
        return conv2d_kernels._weight_gradient(
            flat(x), flat(dy), w.shape[1:3], case.strides[1:], case.pads[1:], BLOCK_BYTES
        )

    return gradient


def compiled(f, *args):
    """() -> seconds of a call, of several in a row."""
    program = jax.jit(f).lower(*args).compile()

    def run():
        start = time.perf_counter()
        for _ in range(CALLS):
            out = program(*args)
        jax.block_until_ready(out)
        return (time.perf_counter() - start) / CALLS

    return run


def rows(add, net, case, future):
    """The rows of a convolution."""
    kt, kh, kw, c, co = case.kernel
    names = {"net": net, "layers": ", ".join(case.paths), "kernel": f"{kt}x{kh}x{kw}, {c} to {co}"}
    names |= {"strides": "x".join(map(str, case.strides))}
    names |= {"input": "x".join(map(str, case.input[:-1]))}
    if (found := report.guard(add, TITLE, names, future.result)) is None:
        return
    ours, arrays = found
    for gradient, runs in ours.items():
        columns = names | {"gradient": gradient, "in use": forms(case)[1]}
        if importlib.util.find_spec("torch") and jax.default_backend() != "tpu":
            make = functools.partial(torch_side, case, gradient, arrays)
            theirs = report.guard(add, TITLE, columns | {"side": "PyTorch"}, make)
            runs = runs | ({"PyTorch": theirs} if theirs else {})
        report.attempt(add, TITLE, columns, functools.partial(measure, runs, columns["in use"]))


def measure(runs, used):
    """The columns of one gradient."""
    for run in runs.values():
        run()
    seconds = dict(zip(runs, map(float, timing.medians(list(runs.values()), REPS, SECONDS))))
    ours = {name: s for name, s in seconds.items() if name != "PyTorch"}
    fields = {"fastest": min(ours, key=ours.__getitem__)}
    fields |= {f"{name}, ms": 1e3 * s for name, s in seconds.items()}
    if "PyTorch" in seconds:
        fields["in use / PyTorch"] = ours[used] / seconds["PyTorch"]
        fields["fastest / PyTorch"] = min(ours.values()) / seconds["PyTorch"]
    return fields


def torch_side(case, gradient, arrays):
    """() -> seconds of a call of PyTorch's gradient."""
    import torch

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    torch.backends.cudnn.benchmark = True
    x, w, dy = (np.asarray(a.astype(jnp.float32)) for a in arrays)
    pads = [before for before, _ in case.pads]
    if any(before != after for before, after in case.pads):  # As the nets of torch_nets.py do.
        x, pads = np.pad(x, ((0, 0), *case.pads, (0, 0))), [0, 0, 0]

    def moved(a, order):
        a = torch.from_numpy(np.ascontiguousarray(a.transpose(order))).to(device, torch.bfloat16)
        return a.contiguous(memory_format=torch.channels_last_3d)

    x, dy, w = moved(x, (0, 4, 1, 2, 3)), moved(dy, (0, 4, 1, 2, 3)), moved(w, (4, 3, 0, 1, 2))
    mask = [gradient == "input", gradient == "kernel", False]

    def run():
        start = time.perf_counter()
        for _ in range(CALLS):
            torch.ops.aten.convolution_backward(
                dy, x, w, None, list(case.strides), pads, [1, 1, 1], False, [0, 0, 0], 1, mask
            )
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / CALLS

    return run
