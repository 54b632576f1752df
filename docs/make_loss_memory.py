"""Draws docs/assets/loss-memory.svg: temporaries of the InfoNCE loss against the batch size.

    PYTHONPATH=. python docs/make_loss_memory.py

The loss in both directions with its gradients, D = 128, float32, is compiled and not run: the
figures are the compiler's account, per device.  The ring is over eight simulated CPU devices.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from avjax.losses import contrastive, negatives

OUT = Path(__file__).parent / "assets" / "loss-memory.svg"
DIM = 128
SIZES = [2**n for n in range(10, 19)]
SOURCES = {  # Name -> (source of negatives, largest batch size, color).
    "dense, 1 device": (negatives.in_batch(), 65_536, "#f7768e"),
    "tiled, 1 device": (negatives.tiled(), SIZES[-1], "#f2b134"),
    "ring, each of 8 devices": (negatives.ring(), SIZES[-1], "#4cc9f0"),
}


def megabytes(source, batch_size: int, place) -> float:
    """Returns the temporaries of the loss and its gradients on a device, in MB."""

    def value(query, key, index):
        loss = contrastive.info_nce()
        pair = source.symmetric_loss(query / 0.07, key, index, None, loss)
        return sum(side.mean() for side in pair)

    z = jax.ShapeDtypeStruct((batch_size, DIM), jnp.float32, sharding=place)
    index = jax.ShapeDtypeStruct((batch_size,), jnp.int32, sharding=place)
    step = jax.jit(jax.value_and_grad(value, (0, 1)), out_shardings=(None, (place, place)))
    compiled = step.lower(z, z, index).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 1e6


def main():
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "avjax"}
    color = dict(color="#97a1b3")
    figure, axes = plt.subplots(figsize=(8, 3.8), facecolor="#12161e")
    for name, (source, largest, line) in SOURCES.items():
        devices = jax.devices() if name.startswith("ring") else jax.devices()[:1]
        mesh = Mesh(np.array(devices), ("data",))
        sizes = [size for size in SIZES if size <= largest]
        with jax.set_mesh(mesh):
            place = NamedSharding(mesh, P("data"))
            values = [megabytes(source, size, place) for size in sizes]
        print(
            name, *(f"{size:,}: {value:,.1f} MB" for size, value in zip(sizes, values)), sep="\n  "
        )
        axes.loglog(sizes, values, "o-", color=line, lw=2, ms=4)
        axes.annotate(
            name,
            (sizes[-1], values[-1]),
            (6, 0),
            textcoords="offset points",
            color=line,
            va="center",
        )
    axes.set(facecolor="#12161e", xlim=(SIZES[0], SIZES[-1] * 6), xticks=SIZES)
    axes.set_xticklabels([f"{size:,}" for size in SIZES], rotation=30)
    axes.minorticks_off()
    axes.set_xlabel("batch size", **color)
    axes.set_ylabel("temporaries per device, MB", **color)
    axes.tick_params(colors=color["color"])
    axes.grid(alpha=0.15)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(OUT, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
