"""A training step of whole nets in bfloat16, avjax against PyTorch, and the share of the peak.

As `benchmarks/step.py` does: forward, backward and Adam, interleaved; PyTorch is compiled and has
channels last.  R3D-18 with 16 clips of 16x112x112 is the case of which SPDL's authors published
425 clips per second of PyTorch on an H100.
"""

import concurrent.futures
import functools
import importlib.util

import jax

from benchmarks import step
from benchmarks.accelerator_parts import report

TITLE = "a training step"
# (clips, frames, size)
SIZES = {
    "r3d": (16, 16, 112), "avid": (32, 8, 112), "vmz": (16, 16, 112), "model": (32, 8, 112),
    "i3d": (8, 16, 224),
}  # fmt: skip
DRY_SIZE, DRY_DEPTH = (2, 4, 32), 10
REPS, SECONDS = 30, 15.0


def run(add, dry, *names):
    """A row per net and side."""
    for name in names[: 1 if dry else None]:
        measure_net(add, name, dry)


def measure_net(add, name, dry):
    """The rows of a net."""
    clips, frames, size = DRY_SIZE if dry else SIZES[name]
    arrays, dtype = step.inputs(name, clips, frames, size), "float32" if dry else "bfloat16"
    names = {"net": name, "clips": f"{clips} of {frames}x{size}x{size}, {dtype}"}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # XLA compiles beside PyTorch.
        ours = pool.submit(compile_ours, name, dtype, arrays, dry)
        theirs = None
        if importlib.util.find_spec("torch") and jax.default_backend() != "tpu":
            make = functools.partial(compile_theirs, name, dtype, arrays, dry)
            theirs = report.guard(add, TITLE, names | {"side": "PyTorch"}, make)
        ours = report.guard(add, TITLE, names | {"side": "avjax"}, ours.result)
    sides = {side: one for side, one in (("avjax", ours), ("PyTorch", theirs)) if one}
    measure = functools.partial(step.measure, name, sides, 2 if dry else REPS, SECONDS)
    times = (sides and report.guard(add, TITLE, names, measure)) or {}
    for side, (seconds, _) in times.items():
        fields = {"side": side, "ms": 1e3 * seconds, "clips/s": clips / seconds}
        fields["share of peak"] = step.share(name, arrays, seconds)
        if side == "avjax" and theirs:
            fields["avjax / PyTorch, time"] = seconds / times["PyTorch"][0]
        add(TITLE, names | fields)


def compile_ours(name, dtype, arrays, dry):
    """See `step.jax_contender`."""
    depth = {"depth": DRY_DEPTH} if dry else {}
    return step.jax_contender(step.NETS[name](dtype=dtype, **depth), dtype, arrays)


def compile_theirs(name, dtype, arrays, dry):
    """See `step.torch_contender`."""
    nets = step.torch_side(name, DRY_DEPTH if dry else 18)
    run, size = step.torch_contender(nets, dtype, "channels-last", arrays)
    run()  # Compiles.
    return run, size
