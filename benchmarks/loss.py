"""The symmetric InfoNCE of a batch and its gradients: tiles against all scores at once.

    python benchmarks/loss.py
    python benchmarks/loss.py --device gpu --batch 65536 262144 1048576 --dim 128 768

Each round times one call of every contender, so that a busy machine slows all of them; the
ratio is that of the medians, below 1 if tiles are faster.  On a CPU all compute in float32; on a
GPU from bfloat16, summed in float32.  If PyTorch is installed its dense loss is included, on a GPU
with torch.compile.  Contenders that require more than `--room` GB for the scores (three B x B
arrays of four bytes) are left out.  TFLOP/s count the four products of B x B x D that the exact
loss requires.
"""

import argparse
import datetime
import importlib.util
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # This checkout.

from avjax.losses import contrastive, negatives
from benchmarks import timing

TEMPERATURE, BIAS = 0.07, -10.0


def jax_contender(source, query, key, name="info_nce"):
    """One call of a loss and its gradients.

    Args:
      source: Negatives.
      query, key: [B, D] of unit length.
      name: "info_nce", with gradients of `query` and `key`, or "logistic", the sigmoid loss, with
        those of the temperature and the bias too.

    Returns:
      () -> seconds; the compiler's account of the memory; () -> the loss.
    """
    index = jnp.arange(len(query))

    def value(query, key, temperature, bias):
        loss = contrastive.info_nce() if name == "info_nce" else contrastive.logistic(bias)
        query = (query / temperature).astype(query.dtype)  # Rounded once.
        pair = source.symmetric_loss(query, key, index, None, loss)
        return sum(side.mean() for side in pair) / 2

    args = query, key, jnp.float32(TEMPERATURE), jnp.float32(BIAS)
    count = 2 if name == "info_nce" else 4
    grad = jax.value_and_grad(value, tuple(range(count)))
    compiled = jax.jit(grad).lower(*args).compile()

    def run():
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        return time.perf_counter() - start

    return run, compiled.memory_analysis(), lambda: float(compiled(*args)[0])


def torch_contender(query, key, device):
    """As `jax_contender`, in PyTorch, dense; what it holds at its peak on a GPU."""
    import torch
    import torch.nn.functional as F

    dtype = torch.bfloat16 if device == "gpu" else torch.float32
    place = "cuda" if device == "gpu" else "cpu"
    query, key = (
        torch.from_numpy(np.array(x, np.float32)).to(place, dtype).requires_grad_()
        for x in (query, key)
    )
    own = torch.arange(len(query), device=place)

    def loss(query, key):
        scores = (query / TEMPERATURE @ key.T).float()
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2

    loss = torch.compile(loss) if device == "gpu" else loss

    def run():
        start = time.perf_counter()
        query.grad = key.grad = None
        loss(query, key).backward()
        if device == "gpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    run()
    if device != "gpu":
        return run, None
    torch.cuda.reset_peak_memory_stats()
    run()
    return run, torch.cuda.max_memory_allocated()


def compare(args, b, d):
    """Prints the times of all contenders at one size."""
    dtype = jnp.bfloat16 if args.device == "gpu" else jnp.float32
    rs = np.random.RandomState(0)
    z = rs.standard_normal((2, b, d)).astype(np.float32)
    query, key = jnp.asarray(z / np.linalg.norm(z, axis=-1, keepdims=True), dtype)
    makers = {f"tiles of {t}": negatives.tiled(tile=t) for t in args.tile}
    dense = 12 * b * b < args.room * 1e9
    if dense:
        makers["dense"] = negatives.in_batch()
    sides = {}
    for name, source in makers.items():
        run, memory, _ = jax_contender(source, query, key)
        sides[name] = run, memory.temp_size_in_bytes
    if dense and importlib.util.find_spec("torch"):
        sides["dense, PyTorch"] = torch_contender(query, key, args.device)
    runs = [run for run, _ in sides.values()]
    for run in runs:
        run()
    seconds = timing.medians(runs, args.reps)
    print(f"B = {b:,}, D = {d}, {jnp.dtype(dtype).name}, medians of {args.reps}:")
    for (name, (_, size)), s in zip(sides.items(), seconds):
        held = "" if size is None else f", {size / 1e6:10,.1f} MB of temporaries"
        print(f"  {name:16} {s * 1e3:10,.1f} ms, {8e-12 * b * b * d / s:7.2f} TFLOP/s{held}")
    best = seconds[: len(args.tile)].min()
    for name, s in list(zip(sides, seconds))[len(args.tile) :]:
        print(f"  best tiles / {name}: {best / s:.2f}", flush=True)


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--batch", type=int, nargs="+", default=[8192])
    flags.add_argument("--dim", type=int, nargs="+", default=[128])
    flags.add_argument("--tile", type=int, nargs="+", default=[512, 1024])
    flags.add_argument("--reps", type=int, default=5)
    flags.add_argument("--room", type=float, default=8.0, help="GB that dense scores may take")
    flags.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    args = flags.parse_args()
    jax.config.update("jax_platforms", "cpu" if args.device == "cpu" else "cuda")
    print(f"{timing.machine(jax.devices()[0])}; {datetime.date.today()}; jax {jax.__version__}")
    for b in args.batch:
        for d in args.dim:
            compare(args, b, d)


if __name__ == "__main__":
    main()
