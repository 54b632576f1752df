"""The symmetric losses of large batches, forward and backward: tiles against Triton kernels.

In bfloat16, summed in float32: the sigmoid loss (`contrastive.logistic`) against siglip-kernel,
with the gradients of its temperature and bias, and InfoNCE against memeff, each where it is
installed.  Values of the loss are compared too.  Memory is what a call needs beside its inputs: for
ours the compiler's temporaries and results, for PyTorch the peak of its allocator.

`DECISION` is the ratio to siglip-kernel above which a kernel of our own would be worth writing.
"""

import concurrent.futures
import functools
import importlib.util
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

from avjax.losses import negatives
from benchmarks import loss, timing
from benchmarks.accelerator_parts import report

DECISION = 1.35
SAME = 0.02  # Relative difference of two values of a loss in bfloat16.
TILES, LARGE_TILES = (1024, 4096, 8192, 16_384), (8192, 16_384)
# (loss, B, D, dtype, tiles, rounds, seconds for them), the most wanted first.  The methods of avjax
# call the loss with float32, the others are bfloat16.
CASES = (
    ("logistic", 65_536, 768, "bfloat16", TILES, 10, 5.0),
    ("info_nce", 65_536, 768, "bfloat16", LARGE_TILES, 10, 4.0),
    ("logistic", 65_536, 128, "bfloat16", TILES, 10, 4.0),
    ("info_nce", 65_536, 128, "bfloat16", LARGE_TILES, 10, 3.0),
    ("info_nce", 65_536, 128, "float32", LARGE_TILES, 3, 3.0),
    ("logistic", 1_048_576, 128, "bfloat16", (16_384,), 1, 0.0),
    ("info_nce", 1_048_576, 128, "bfloat16", (16_384,), 1, 0.0),
)
DRY_CASES = (
    ("logistic", 256, 16, "bfloat16", (64, 128), 2, 1.0),
    ("info_nce", 256, 16, "float32", (64,), 2, 1.0),
)
OTHERS = {"logistic": "siglip-kernel", "info_nce": "memeff"}


def run(add, dry):
    """A row per case and side, and one per case with the ratio that decides."""
    for case in DRY_CASES if dry else CASES:
        compare(add, *case)


def compare(add, name, b, d, dtype, tiles, reps, seconds):
    """The rows of one of CASES."""
    title, columns, other = "losses", {"B": b, "D": d, "loss": name, "dtype": dtype}, OTHERS[name]
    query, key = unit_rows(b, d)
    ours = tuple(jnp.asarray(z, dtype) for z in (query, key))
    made = {}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # Compiling is slow.
        for tile in tiles:
            made[f"tiles of {tile}"] = pool.submit(our_side, tile, ours, name).result
        made = {  # All are submitted before the first is waited for.
            side: report.guard(add, title, columns | {"side": side}, result)
            for side, result in made.items()
        }
    if jax.default_backend() == "gpu" and dtype == "bfloat16" and installed(other):
        make = functools.partial(THEIRS[other], query, key)
        made[other] = report.guard(add, title, columns | {"side": other}, make)
    sides = {side: one for side, one in made.items() if one}
    measure = functools.partial(timing.medians, [run for run, *_ in sides.values()], reps, seconds)
    times = report.guard(add, title, columns, measure) if sides else None
    if times is None:
        return
    for (side, (_, memory, value)), each in zip(sides.items(), times):
        fields = {"side": side, "ms": 1e3 * each, "TFLOP/s": 8e-12 * b * b * d / each}
        add(title, columns | fields | {"MB": memory / 1e6, "value": value})
    if other in sides and len(sides) > 1:
        decide(add, columns, sides, times, other)


def decide(add, columns, sides, times, other):
    """The row of the ratio to the other library, and whether both computed the same."""
    names, seconds = list(sides), list(map(float, times))
    best = min(range(len(names) - 1), key=seconds.__getitem__)
    ratio = seconds[best] / seconds[-1]
    values = sides[names[best]][2], sides[other][2]
    fields = {"best": names[best], "ratio to " + other: ratio}
    if other == "siglip-kernel":
        fields["our own kernel is worth writing"] = ratio > DECISION
    same = math.isclose(*values, rel_tol=SAME)
    add("ratios", columns | fields | {"values": "{:.4g}, {:.4g}".format(*values), "passed": same})


def installed(package):
    """Whether PyTorch and the package are."""
    return all(map(importlib.util.find_spec, ("torch", package.replace("-", "_"))))


def unit_rows(b, d):
    """Two float32 arrays [B, D] of unit rows; each pair is alike."""
    rng = np.random.default_rng(0)
    query, noise = (rng.standard_normal((b, d), np.float32) for _ in range(2))
    return tuple(z / np.linalg.norm(z, axis=1, keepdims=True) for z in (query, query + noise))


def our_side(tile, rows, name):
    """(() -> seconds, bytes, the value of the loss) of tiles."""
    run, memory, value = loss.jax_contender(negatives.tiled(tile=tile), *rows, name)
    return run, memory.temp_size_in_bytes + memory.output_size_in_bytes, value()


def siglip_side(query, key):
    """As `our_side`, of siglip-kernel's own choice of a kernel."""
    import torch
    from siglip_kernel import fused_siglip_loss

    scalars = [
        torch.tensor(x, device="cuda", requires_grad=True)
        for x in (-math.log(loss.TEMPERATURE), loss.BIAS)
    ]
    return torch_side(lambda q, k: fused_siglip_loss(q, k, *scalars), query, key, scalars)


def memeff_side(query, key):
    """As `our_side`, of memeff's CLIP loss with the textbook's scale of the gradients."""
    from memeff import MemoryEfficientCLIPLoss

    value = MemoryEfficientCLIPLoss(loss.TEMPERATURE, normalized_inputs=True, stable=False)
    return torch_side(value, query, key)


THEIRS = {"siglip-kernel": siglip_side, "memeff": memeff_side}


def torch_side(value, query, key, parameters=()):
    """(() -> seconds, bytes, the value) of a loss in PyTorch."""
    import torch

    rows = [torch.from_numpy(z).to("cuda", torch.bfloat16).requires_grad_() for z in (query, key)]
    leaves = [*rows, *parameters]

    def run():
        start = time.perf_counter()
        for leaf in leaves:
            leaf.grad = None
        out = value(*rows)
        out.backward()
        torch.cuda.synchronize()
        run.value = out.detach()
        return time.perf_counter() - start

    run()  # Compiles and tunes.
    before = torch.cuda.memory_allocated() - sum(2 * z.numel() for z in rows)
    torch.cuda.reset_peak_memory_stats()
    run()
    return run, torch.cuda.max_memory_allocated() - before, float(run.value)
