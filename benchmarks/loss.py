"""The symmetric InfoNCE of a batch and its gradients: tiles against all scores at once.

    PYTHONPATH=. python benchmarks/loss.py
    PYTHONPATH=. python benchmarks/loss.py --device gpu --batch 65536 262144 1048576 --dim 128 768

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
import time

import jax
import jax.numpy as jnp
import numpy as np

from avjax.losses import contrastive, negatives

TEMPERATURE = 0.07


def jax_contender(source, query, key):
    """() -> seconds of one call, and its bytes of temporaries by the compiler's account."""
    index = jnp.arange(len(query))

    def value(query, key):
        loss = contrastive.info_nce()
        pair = source.symmetric_loss(
            query / jnp.asarray(TEMPERATURE, query.dtype), key, index, None, loss
        )
        return sum(side.mean() for side in pair)

    compiled = jax.jit(jax.value_and_grad(value, (0, 1))).lower(query, key).compile()

    def run():
        start = time.perf_counter()
        jax.block_until_ready(compiled(query, key))
        return time.perf_counter() - start

    return run, compiled.memory_analysis().temp_size_in_bytes


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
        return F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)

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
    sides = {name: jax_contender(source, query, key) for name, source in makers.items()}
    if dense and importlib.util.find_spec("torch"):
        sides["dense, PyTorch"] = torch_contender(query, key, args.device)
    runs = [run for run, _ in sides.values()]
    for run in runs:
        run()
    seconds = np.median([[run() for run in runs] for _ in range(args.reps)], 0)
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
    print(f"{jax.devices()[0].device_kind}; {datetime.date.today()}; jax {jax.__version__}")
    for b in args.batch:
        for d in args.dim:
            compare(args, b, d)


if __name__ == "__main__":
    main()
