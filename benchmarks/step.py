"""The training step of AVID, avjax against PyTorch: forward, backward and Adam, in turn.

    python -m venv bench && bench/bin/pip install avjax torch==2.13.0
    PYTHONPATH=. bench/bin/python benchmarks/step.py
    PYTHONPATH=. bench/bin/python benchmarks/step.py --device gpu --size 224 --batch 32

Each round times one step of every contender, so that a busy machine slows all of them;
the ratio is that of the medians, below 1 where avjax is faster.  PyTorch's threads wait for
each other and suffer most when others compute: there, bind all to one core (`taskset -c 0
python ...`) and read the CPU time.  On a CPU both compute in float32, PyTorch in contiguous
and in channels-last order; on a GPU in bfloat16, PyTorch compiled and channels-last.

`video` is the video net alone, `model` both nets, both heads and a cross-modal InfoNCE loss
over the batch.  PyTorch's nets were written for this comparison, from the same description.
"""

import argparse
import datetime
import os
import platform
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from torch import nn as tnn

from avjax.nets.audio2d import Conv2D
from avjax.nets.heads import Mlp
from avjax.nets.r2plus1d import BLOCKS, R2Plus1D

TEMPERATURE = 0.07


class Model(nn.Module):
    """Both towers of AVID: (clips, spectrograms) -> embeddings [B, 128]."""

    depth: int
    dtype: str

    @nn.compact
    def __call__(self, video, audio, train):
        v = R2Plus1D(self.depth, dtype=self.dtype)(video, train)
        a = Conv2D(dtype=self.dtype)(audio, train)
        return Mlp((512, 512, 128))(v, train), Mlp((512, 512, 128))(a, train)


def jax_contender(name, args, dtype, video, audio):
    """() -> (seconds, CPU seconds) of one step, and the number of parameters."""
    tx = optax.adam(1e-4)
    net = R2Plus1D(args.depth, dtype=dtype) if name == "video" else Model(args.depth, dtype)
    inputs = tuple(map(jnp.asarray, (video,) if name == "video" else (video, audio)))

    def loss(params, stats, inputs):
        variables = {"params": params, "batch_stats": stats}
        out, new = net.apply(variables, *inputs, True, mutable=["batch_stats"])
        if name == "video":
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

    variables = jax.jit(net.init, static_argnums=len(inputs) + 1)(jax.random.key(0), *inputs, False)
    params = variables["params"]
    state = [(params, variables["batch_stats"], tx.init(params))]
    step = jax.jit(step, donate_argnums=0)

    def run():
        start = time.perf_counter(), time.process_time()
        state[0], value = step(state[0], inputs)
        jax.block_until_ready((state[0], value))
        return time.perf_counter() - start[0], time.process_time() - start[1]

    return run, sum(leaf.size for leaf in jax.tree.leaves(params))


def conv(c, features, kernel, stride=1):
    """A convolution of PyTorch, padded by half of its kernel, without bias."""
    kind = tnn.Conv3d if len(kernel) == 3 else tnn.Conv2d
    return kind(c, features, kernel, stride, tuple(k // 2 for k in kernel), bias=False)


class TorchBlock(tnn.Module):
    """Space, time, space, time, with the sum normalized."""

    def __init__(self, c, features, s):
        super().__init__()

        def unit(c, kernel, stride):
            layer = conv(c, features, kernel, stride)
            return layer, tnn.BatchNorm3d(features), tnn.ReLU(inplace=True)

        self.main = tnn.Sequential(
            *unit(c, (1, 3, 3), (1, s, s)), *unit(features, (3, 1, 1), (s, 1, 1)),
            *unit(features, (1, 3, 3), 1), conv(features, features, (3, 1, 1)),
        )  # fmt: skip
        same = s == 1 and c == features
        self.shortcut = tnn.Identity() if same else conv(c, features, (1, 1, 1), s)
        self.norm = tnn.BatchNorm3d(features)

    def forward(self, x):
        return F.relu(self.norm(self.main(x) + self.shortcut(x)), inplace=True)


def torch_video(depth):
    layers = [conv(3, 64, (3, 7, 7), (1, 2, 2)), tnn.BatchNorm3d(64), tnn.ReLU(inplace=True),
              tnn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))]  # fmt: skip
    c = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        for i in range(blocks):
            layers.append(TorchBlock(c, 64 << stage, 2 if stage and not i else 1))
            c = 64 << stage
    return tnn.Sequential(*layers, tnn.AdaptiveMaxPool3d(1), tnn.Flatten())


def torch_audio():
    def unit(c, features, k, s):
        layer = conv(c, features, (k, k), s)
        return layer, tnn.BatchNorm2d(features), tnn.ReLU(inplace=True)

    layers, c = [*unit(1, 64, 7, 2)], 64
    for features, s in ((64, 2), (128, 2), (256, 2), (512, 1)):
        layers += [*unit(c, features, 3, s), *unit(features, features, 3, 1)]
        c = features
    return tnn.Sequential(*layers, tnn.AdaptiveMaxPool2d(1), tnn.Flatten())


def torch_head():
    return tnn.Sequential(
        tnn.Linear(512, 512), tnn.ReLU(), tnn.Linear(512, 512), tnn.ReLU(), tnn.Linear(512, 128)
    )


def torch_contender(name, args, order, video, audio):
    """As `jax_contender`, in PyTorch; `order` is "contiguous" or "channels-last"."""
    device = "cuda" if args.device == "gpu" else "cpu"
    last = order == "channels-last"
    towers = [torch_video(args.depth)]
    inputs = [torch.from_numpy(np.moveaxis(video, -1, 1).copy())]
    if name == "model":
        towers = [torch_video(args.depth).append(torch_head()), torch_audio().append(torch_head())]
        inputs.append(torch.from_numpy(audio)[:, None])
    if last:
        formats = (torch.channels_last_3d, torch.channels_last)
        towers = [t.to(memory_format=f) for t, f in zip(towers, formats)]
        inputs = [x.contiguous(memory_format=f) for x, f in zip(inputs, formats)]
    towers, inputs = [t.to(device) for t in towers], [x.to(device) for x in inputs]
    parameters = [p for t in towers for p in t.parameters()]
    tx = torch.optim.Adam(parameters, 1e-4, fused=device == "cuda")

    def loss():
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            out = [t(x) for t, x in zip(towers, inputs)]
        if name == "video":
            return out[0].float().square().mean()
        v, a = (F.normalize(z.float()) for z in out)
        logits, rows = v @ a.T / TEMPERATURE, torch.arange(len(v), device=device)
        return F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)

    loss = torch.compile(loss) if device == "cuda" else loss

    def run():
        start = time.perf_counter(), time.process_time()
        tx.zero_grad(set_to_none=True)
        loss().backward()
        tx.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    return run, sum(p.numel() for p in parameters)


def machine():
    """The kind of machine, in words."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.device_kind}"
    name = platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--size", type=int, default=112, help="height and width of a clip")
    flags.add_argument("--frames", type=int, default=8)
    flags.add_argument("--batch", type=int, default=4)
    flags.add_argument("--depth", type=int, default=18, choices=sorted(BLOCKS))
    flags.add_argument("--reps", type=int, default=7)
    flags.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    flags.add_argument("--only", choices=("video", "model"), help="leave out the other row")
    args = flags.parse_args()
    jax.config.update("jax_platforms", "cpu" if args.device == "cpu" else "cuda")

    rs = np.random.RandomState(0)
    video = rs.standard_normal((args.batch, args.frames, args.size, args.size, 3))
    audio = rs.standard_normal((args.batch, 200, 257))
    data = video.astype(np.float32), audio.astype(np.float32)
    print(f"{machine()}; {datetime.date.today()}; jax {jax.__version__}, torch {torch.__version__}")
    print(f"{args.batch} clips of {args.frames}x{args.size}x{args.size}, depth {args.depth}")
    for name in (args.only,) if args.only else ("video", "model"):
        compare(name, args, *data)


def compare(name, args, video, audio):
    """Prints the times of `name`, "video" or "model", by every contender in turn."""
    orders = ("contiguous", "channels-last") if args.device == "cpu" else ("channels-last",)
    dtype = "float32" if args.device == "cpu" else "bfloat16"
    contenders = {"avjax": jax_contender(name, args, dtype, video, audio)}
    for order in orders:
        contenders[f"torch {order}"] = torch_contender(name, args, order, video, audio)
    sizes = {maker: size for maker, (_, size) in contenders.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"{name}: not as many parameters: {sizes}")
    runs = [run for run, _ in contenders.values()]
    for run in runs:  # Compiles; the first step after that is slower too.
        run(), run()
    times = np.array([[run() for run in runs] for _ in range(args.reps)]) * 1e3
    medians = np.median(times, 0)  # [contender, (wall, CPU)]
    print(f"{name}, {sizes['avjax']:,} parameters, {dtype}, medians of {args.reps} steps:")
    for maker, (wall, cpu) in zip(contenders, medians):
        print(f"  {maker:20} {wall:8.1f} ms, {cpu:8.1f} ms of CPU")
    wall, cpu = medians[0] / medians[1:].min(0)
    print(f"  avjax / PyTorch's best {wall:.2f}, of CPU {cpu:.2f}", flush=True)


if __name__ == "__main__":
    main()
