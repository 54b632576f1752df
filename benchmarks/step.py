"""A training step, avjax against PyTorch: forward, backward and Adam, in turn.

    python -m venv bench && bench/bin/pip install avjax torch==2.13.0
    bench/bin/python benchmarks/step.py
    bench/bin/python benchmarks/step.py --net i3d --batch 8 --frames 16 --size 224

Each round times one step of every contender, so that a busy machine slows all of them;
the ratio is that of the medians, below 1 where avjax is faster.  PyTorch's threads wait for
each other and suffer most when others compute: there, bind all to one core (`taskset -c 0
python ...`) and read the CPU time.

What there is to compute with decides what is compared, and is said first.  On a CPU: float32,
4 clips of 8x112x112, PyTorch in contiguous and in channels-last order.  On a GPU: bfloat16,
32 clips of four shapes, PyTorch compiled and channels-last, and the share of the chip's peak.

`avid` is a video net alone, as the others are; `model` both nets and both heads of AVID with a
cross-modal InfoNCE loss over the batch; `resnet18` a net of single pictures.  PyTorch's nets are
those of `torch_nets.py`, written from the same descriptions.
"""

import argparse
import datetime
import functools
import math
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # This checkout.

from avjax.nets.flops import gmacs
from benchmarks import timing
from benchmarks.step_nets import NETS, inputs, torch_side

TEMPERATURE = 0.07
SHAPES = {"cpu": ((8, 112),), "gpu": ((8, 112), (8, 224), (16, 112), (32, 112))}  # (frames, size)
# Multiplications and additions a second of dense bfloat16 matrices, as their maker says.
PEAKS = {"NVIDIA H200": 989e12, "NVIDIA H100 80GB HBM3": 989e12}


def drawn(shapes):
    """Variables drawn by NumPy: XLA takes long to compile a net's `init`."""
    rs, flat = np.random.RandomState(0), {}
    for path, leaf in flatten_dict(shapes).items():
        if path[-1] == "kernel":
            value = rs.standard_normal(leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5
        else:
            value = np.full(leaf.shape, float(path[-1] in ("scale", "var")))
        flat[path] = value.astype(leaf.dtype)
    return unflatten_dict(flat)


def jax_contender(net, dtype, arrays):
    """() -> (seconds, CPU seconds) of one compiled step, and the number of parameters."""
    tx, inputs = optax.adam(1e-4), tuple(map(jnp.asarray, arrays))

    def loss(params, stats, inputs):
        variables = {"params": params, "batch_stats": stats}
        out, new = net.apply(variables, *inputs, True, mutable=["batch_stats"])
        if len(inputs) == 1:
            return jnp.square(out.astype(jnp.float32)).mean(), new["batch_stats"]
        v, a = (z / jnp.linalg.norm(z, axis=-1, keepdims=True) for z in out)
        logits, rows = v @ a.T / TEMPERATURE, jnp.arange(len(v))
        cross = optax.softmax_cross_entropy_with_integer_labels
        return (cross(logits, rows) + cross(logits.T, rows)).mean(), new["batch_stats"]

    def step(state, inputs):
        params, stats, opt = state
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(params, stats, inputs)
        updates, opt = tx.update(grads, opt)
        return (optax.apply_updates(params, updates), stats, opt), value

    shapes = jax.eval_shape(lambda key: net.init(key, *inputs, False), jax.random.key(0))
    variables = jax.device_put(drawn(shapes))
    params = variables["params"]
    state = [(params, variables["batch_stats"], jax.jit(tx.init)(params))]
    step = jax.jit(step, donate_argnums=0).lower(state[0], inputs).compile()

    def run():
        start = time.perf_counter(), time.process_time()
        state[0], value = step(state[0], inputs)
        jax.block_until_ready((state[0], value))
        return time.perf_counter() - start[0], time.process_time() - start[1]

    return run, sum(leaf.size for leaf in jax.tree.leaves(params))


def torch_contender(nets, dtype, order, arrays):
    """As `jax_contender`, in PyTorch; `order` is "contiguous" or "channels-last".

    The first runs compile, on a GPU.
    """
    import torch
    import torch.nn.functional as F

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    inputs = [torch.from_numpy(np.moveaxis(x, -1, 1).copy()) for x in arrays]
    if order == "channels-last":
        formats = [torch.channels_last_3d if x.ndim == 5 else torch.channels_last for x in inputs]
        nets = [net.to(memory_format=f) for net, f in zip(nets, formats)]
        inputs = [x.contiguous(memory_format=f) for x, f in zip(inputs, formats)]
    nets, inputs = [net.to(device) for net in nets], [x.to(device) for x in inputs]
    parameters = [p for net in nets for p in net.parameters()]
    tx = torch.optim.Adam(parameters, 1e-4, fused=device == "cuda")

    def loss():
        with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
            out = [net(x) for net, x in zip(nets, inputs)]
        if len(nets) == 1:
            return out[0].float().square().mean()
        v, a = (F.normalize(z.float()) for z in out)
        logits, rows = v @ a.T / TEMPERATURE, torch.arange(len(v), device=device)
        return F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)

    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.compiler.reset()  # After a few nets it would compile no more.
        loss = torch.compile(loss)

    def run():
        start = time.perf_counter(), time.process_time()
        tx.zero_grad(set_to_none=True)
        loss().backward()
        tx.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    return run, sum(p.numel() for p in parameters)


def main():
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # Else none for PyTorch.
    backend = jax.default_backend()
    if backend not in SHAPES:
        raise ValueError(f"a {backend}: PyTorch is compared with on a CPU or a GPU")
    fast = backend == "gpu"
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--net", choices=NETS, action="append", help="as often as wanted; or all")
    flags.add_argument("--batch", type=int, default=32 if fast else 4)
    flags.add_argument("--frames", type=int, help="with --size, instead of the usual shapes")
    flags.add_argument("--size", type=int, help="height and width of a clip")
    flags.add_argument("--dtype", choices=("float32", "bfloat16"),
                       default="bfloat16" if fast else "float32")  # fmt: skip
    flags.add_argument("--reps", type=int, default=20 if fast else 5)
    args = flags.parse_args()
    import torch

    if backend == "gpu" and not torch.cuda.is_available():
        raise ValueError("this PyTorch has no GPU: install one with CUDA, or set JAX_PLATFORMS=cpu")
    shapes = SHAPES[backend]
    if args.frames or args.size:
        shapes = ((args.frames or 8, args.size or 112),)
    versions = f"jax {jax.__version__}, torch {torch.__version__}"
    print(f"{timing.machine(jax.devices()[0])}; {datetime.date.today()}; {versions}")
    kind = "compiled, channels-last" if fast else "in the better of two orders"
    print(f"{backend}: {args.dtype}, {args.batch} clips, PyTorch {kind}, {args.reps} steps")
    for frames, size in shapes:
        print(f"{frames}x{size}x{size}", flush=True)
        for name in args.net or NETS:
            compare(name, args, frames, size)


def compare(name, args, frames, size):
    """Prints the times of a net by every contender in turn."""
    arrays = inputs(name, args.batch, frames, size)
    orders = ("contiguous", "channels-last")[jax.default_backend() == "gpu" :]
    makers = {"avjax": functools.partial(jax_contender, NETS[name](dtype=args.dtype))}
    for order in orders:
        nets = torch_side(name)
        makers[f"torch {order}"] = functools.partial(torch_contender, nets, order=order)
    contenders = {maker: make(args.dtype, arrays=arrays) for maker, make in makers.items()}
    times = measure(name, contenders, args.reps)
    print(f"{name}, {contenders['avjax'][1]:,} parameters")
    for maker, (wall, cpu) in times.items():
        part = share(name, arrays, wall)
        row = f"  {maker:20} {1e3 * wall:8.1f} ms, {1e3 * cpu:8.1f} ms of CPU, "
        row += f"{args.batch / wall:6.1f} clips/s"
        print(row + (f", {part:.0%} of the peak" if part else ""))
    ours, *others = times.values()
    wall, cpu = ours / np.min(others, 0)
    print(f"  avjax / PyTorch's best {wall:.2f}, of CPU {cpu:.2f}", flush=True)


def measure(name, contenders, reps, seconds=math.inf):
    """{maker: (seconds, CPU seconds)} of a step, medians of interleaved runs.

    Args:
      name: of the net.
      contenders: {maker: what `jax_contender` or `torch_contender` returned}.
      reps: rounds.
      seconds: after these no round begins but the first.

    Raises:
      ValueError: the nets have different numbers of parameters.
    """
    sizes = {maker: size for maker, (_, size) in contenders.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"{name}: not as many parameters: {sizes}")
    runs = [run for run, _ in contenders.values()]
    for run in runs:  # Compiles; the first step after that is slower too.
        run(), run()
    return dict(zip(contenders, timing.medians(runs, reps, seconds)))


def share(name, arrays, seconds):
    """How much of the chip's peak a step of the net is, backward counted twice; None if unknown."""
    peak = PEAKS.get(jax.devices()[0].device_kind)
    if peak is None or name == "model":
        return None
    net = NETS[name](dtype="float32")
    macs = 1e9 * gmacs(net, (1, *arrays[0].shape[1:])) * len(arrays[0])
    return 2 * 3 * macs / seconds / peak


if __name__ == "__main__":
    main()
