"""Step time and rates from FLOPs, bytes and the peaks of a device."""

from typing import Any, NamedTuple

from avjax.planning.chips import Chip
from avjax.planning.collectives import Collective
from avjax.runtime import gathering

# What is assumed of a good program; neither has been measured with avjax on these devices.
SHARE_OF_FLOPS, SHARE_OF_BANDWIDTH = 0.3, 0.7


class Times(NamedTuple):
    """Seconds of a step.

    Attributes:
      compute, memory, links: at the peaks of the device, each alone.
      least: the roofline: the longest of them.
      expected: with the assumed shares of the peaks; communication is not hidden.
    """

    compute: float
    memory: float
    links: float
    least: float
    expected: float


def times(
    flops: float, traffic: float, sent: float, chip: Chip, share: float = SHARE_OF_FLOPS
) -> Times | None:
    """Returns the Times of a step; None for a device without known peaks.

    Args:
      flops: of a device.
      traffic: bytes that a device reads and writes.
      sent: bytes that a device sends.
      chip: the device.
      share: of the peak FLOP/s that the step reaches.
    """
    if not chip.flops:
        return None
    compute, memory = flops / chip.flops, traffic / chip.bandwidth
    links = sent / chip.link
    expected = max(compute / share, memory / SHARE_OF_BANDWIDTH) + links
    return Times(compute, memory, links, max(compute, memory, links), expected)


def sent(collectives: list[Collective]) -> float:
    """Returns the bytes that a device sends in a step.

    Args:
      collectives: of the step.
    """
    return sum(one.sent() for one in collectives)


def collectives_of_nets(gradients: int, gathered: int, mesh: Any) -> list[Collective]:
    """Returns the sum of the gradients and the gathering of nets, where no program was compiled.

    Args:
      gradients: bytes of the gradients on a device.
      gathered: bytes of the arrays that are gathered.
      mesh: the device mesh.
    """
    out = []
    if mesh.size > 1:
        out.append(Collective("all-reduce", "gradients (counted)", mesh.size, 1, gradients))
    if gathered:
        group = mesh.shape[gathering.AXIS]
        out.append(Collective("all-gather", "nets (counted)", group, 1, gathered))
    return out
