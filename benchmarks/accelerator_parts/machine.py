"""What the other parts run on."""

import datetime
import importlib.metadata

import jax

from benchmarks import timing


def run(add, dry):
    """One row: device, versions, date."""
    device = jax.devices()[0]
    if device.platform == "cpu" and not dry:
        raise ValueError("JAX finds no accelerator: install its version for one, or use --dry")
    fields = {"device": timing.machine(device), "devices": jax.device_count()}
    fields |= {name: version(name) for name in ("jax", "torch", "siglip-kernel", "memeff")}
    add("machine", fields | {"date": str(datetime.date.today()), "sizes": "tiny" * dry or "full"})


def version(name):
    """The installed version of a package; "none" if there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"
