"""The devices of a topology such as v5e:16x16, which need not exist."""

import importlib.util
import math
import os
import re
from typing import Any, NamedTuple

from avjax.config import signatures
from avjax.planning import chips

EXAMPLES = "v5e:16x16, v4:2x4x4, v5p:2x2x2, v6e:4x4, cpu:8 or gpu:h200:8"


class Topology(NamedTuple):
    """A number of equal devices.

    Attributes:
      text: as the user wrote it.
      platform: "tpu", "cpu" or "gpu".
      chip: the device.
      count: number of devices.
      hosts: number of hosts.
    """

    text: str
    platform: str
    chip: chips.Chip
    count: int
    hosts: int


def parse(text: str, memory: float | None = None) -> Topology:
    """Returns the Topology of its name; ValueError if there is none.

    Args:
      text: CHIP:SHAPE of a TPU slice, cpu:N or gpu:CHIP:N.
      memory: bytes of a device, in place of the chip's own.
    """
    name, _, rest = text.partition(":")
    if name in chips.TPUS and re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", rest):
        platform, chip = "tpu", chips.TPUS[name]
        count = math.prod(map(int, rest.split("x")))
    elif name == "cpu" and re.fullmatch(r"[1-9]\d*", rest):
        platform, chip, count = "cpu", chips.CPU, int(rest)
        own = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # The devices share it.
        chip = chip._replace(memory=own / count, per_host=count)
    elif match := re.fullmatch(r"gpu:(\w+):([1-9]\d*)", text):
        if match[1] not in chips.GPUS:
            near = signatures.did_you_mean(match[1], chips.GPUS)
            raise ValueError(f"--topology {text}: no GPU {match[1]}{near}: {', '.join(chips.GPUS)}")
        platform, chip, count = "gpu", chips.GPUS[match[1]], int(match[2])
    else:
        raise ValueError(f"--topology {text}: use one such as {EXAMPLES}")
    if memory:
        chip = chip._replace(memory=memory)
    return Topology(text, platform, chip, count, -(-count // chip.per_host))


def prepare_environment(topology: Topology) -> None:
    """Sets the environment for a topology; call it before JAX is imported.

    No device of this machine but its CPU is used.

    Raises:
      RuntimeError: the TPU compiler is not installed.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    if topology.platform != "tpu":
        os.environ["JAX_NUM_CPU_DEVICES"] = str(topology.count)
        return
    os.environ["JAX_NUM_CPU_DEVICES"] = "1"
    if importlib.util.find_spec("libtpu") is None:
        raise RuntimeError(
            f"--topology {topology.text}: the TPU compiler is not installed: "
            "pip install 'avjax[tpu]' (it needs no TPU)"
        )
    for name, value in dict(
        TPU_SKIP_MDS_QUERY="1",  # No query of a cloud's metadata.
        ALLOW_MULTIPLE_LIBTPU_LOAD="true",  # Else one process at a time.
        TPU_ACCELERATOR_TYPE="v5litepod-8",  # Else warnings; the topology's own name decides.
        TPU_WORKER_HOSTNAMES="localhost",
    ).items():
        os.environ.setdefault(name, value)


def devices(topology: Topology) -> list[Any]:
    """Returns the devices for the mesh: of the TPU compiler, or simulated ones of the CPU.

    Raises:
      ValueError: the TPU compiler does not know such a slice.
      RuntimeError: JAX has another number of CPU devices.
    """
    import jax
    from jax.experimental import topologies

    if topology.platform != "tpu":
        found = jax.devices("cpu")
        if len(found) != topology.count:
            raise RuntimeError(
                f"--topology {topology.text}: JAX has {len(found)} CPU devices: set "
                f"JAX_NUM_CPU_DEVICES={topology.count}"
            )
        return found
    # The two cores of a chip of v4 and v5p are one device.
    more: dict[str, Any] = {}
    if topology.text.startswith(("v4", "v5p")):
        more["chip_config_name"] = "megacore"
    if topology.count < topology.chip.per_host:
        shape = [*map(int, topology.text.split(":")[1].split("x")), 1]
        more["chips_per_host_bounds"] = tuple(shape[:3])
    try:
        return list(
            topologies.get_topology_desc(
                platform="tpu", topology_name=topology.text, **more
            ).devices
        )
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"--topology {topology.text}: {str(error).splitlines()[0]}") from error
