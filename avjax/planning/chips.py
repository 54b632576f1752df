"""Devices as their vendors describe them."""

from typing import NamedTuple


class Chip(NamedTuple):
    """A device, per chip.

    Attributes:
      title: its name.
      memory: bytes; 0 if unknown.
      flops: peak FLOP/s of dense bfloat16 products; 0 if unknown.
      bandwidth: bytes/s of its memory.
      link: bytes/s that it sends to other chips, all links together; receiving is as fast.
      per_host: devices of a host.
    """

    title: str
    memory: float
    flops: float
    bandwidth: float
    link: float
    per_host: int


# From cloud.google.com/tpu/docs (v4, v5e, v5p, v6e) and NVIDIA's data sheets, SXM versions.
TPUS = {
    "v4": Chip("TPU v4", 32e9, 275e12, 1.2e12, 300e9, 4),
    "v5e": Chip("TPU v5e", 16e9, 197e12, 0.819e12, 200e9, 4),
    "v5p": Chip("TPU v5p", 95e9, 459e12, 2.765e12, 600e9, 4),
    "v6e": Chip("TPU v6e", 32e9, 918e12, 1.638e12, 400e9, 4),
}
GPUS = {
    "a100": Chip("A100 80 GB", 80e9, 312e12, 2.039e12, 300e9, 8),
    "h100": Chip("H100", 80e9, 989e12, 3.35e12, 450e9, 8),
    "h200": Chip("H200", 141e9, 989e12, 4.8e12, 450e9, 8),
}
CPU = Chip("CPU", 0, 0, 0, 0, 1)
