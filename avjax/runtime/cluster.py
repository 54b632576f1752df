"""Finds out which process of how many this one is: from flags, variables, or the cluster's own.

Nothing is started here.  A single machine without any of these is no cluster.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from avjax.runtime import cluster_tpu

VARIABLES = ("AVJAX_COORDINATOR", "AVJAX_PROCESS_ID", "AVJAX_PROCESS_COUNT")
FLAGS = ("--coordinator", "--process_id", "--process_count")
PORT = 8476  # Of process 0 unless something else is given.


class Cluster(NamedTuple):
    """The processes of a run.

    Attributes:
      coordinator: "HOST:PORT" of process 0, as the others reach it.
      process: number of this process, from 0.
      count: number of processes.
      source: what said so, e.g. "SLURM".
      local: (number of this process on its machine, number of processes there); None if unknown.
    """

    coordinator: str
    process: int
    count: int
    source: str
    local: tuple[int, int] | None = None


def detect(
    coordinator: str | None = None,
    process_id: int | None = None,
    process_count: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Cluster | None:
    """Returns the processes of this run; None if this is the only one.

    The order is: flags, the variables AVJAX_*, SLURM, Open MPI, Cloud TPU.  Variables fill what
    flags leave out, and what both leave out is that of SLURM, Open MPI or Kubernetes.

    Args:
      coordinator, process_id, process_count: the flags; None if not given.
      environ: the variables.

    Raises:
      ValueError: something is missing or contradictory; the message says what to set.
    """
    given = [coordinator, process_id, process_count]
    texts = [environ.get(name) for name in VARIABLES]
    values = [text if flag is None else flag for flag, text in zip(given, texts)]
    if any(value is not None for value in values):
        return _explicit(values, environ)
    for find in (_slurm, _open_mpi, cluster_tpu.detect):
        if found := find(environ):
            return Cluster(*found) if found[2] > 1 else None
    if "KUBERNETES_SERVICE_HOST" in environ and "JOB_COMPLETION_INDEX" in environ:
        raise ValueError(
            "this is a pod of an indexed Kubernetes Job, which does not say how many processes "
            "the run has: set AVJAX_PROCESS_COUNT (1 if each pod is a run of its own), and for "
            "more than one AVJAX_COORDINATOR=HOST:PORT of the pod with index 0"
        )
    return None


def _explicit(values, environ) -> Cluster | None:
    """The processes as the flags or variables say; gaps are filled by the scheduler's."""
    coordinator, process, count = values
    number, size = _integer(process, 1), _integer(count, 2)
    found = _slurm(environ) or _open_mpi(environ)
    size = size or (found[2] if found else None)
    if number is None:
        index = environ.get("JOB_COMPLETION_INDEX")  # Of an indexed Job of Kubernetes.
        number = found[1] if found else None if index is None else int(index)
    if size == 1:
        return None
    coordinator = coordinator or (found[0] if found else None)
    for value, flag, name in zip((coordinator, number, size), FLAGS, VARIABLES):
        if value is None:
            raise ValueError(f"{flag} (or {name}) is missing: give all of {', '.join(FLAGS)}")
    assert coordinator is not None and number is not None and size is not None
    if not 0 <= number < size:
        raise ValueError(
            f"--process_id={number}: use 0 to {size - 1}, as --process_count is {size}"
        )
    split_address(coordinator)
    return Cluster(coordinator, number, size, "flags or AVJAX_ variables", found and found[4])


def _integer(value, i: int) -> int | None:
    """Returns a flag or variable as an integer, None if it is missing."""
    least = i - 1  # A number from 0, a count from 1.
    if value is None:
        return None
    if not str(value).isdigit() or int(value) < least:
        raise ValueError(f"{FLAGS[i]}={value} (or {VARIABLES[i]}): use an integer from {least}")
    return int(value)


def split_address(address: str) -> tuple[str, int]:
    """Returns (host, port) of "HOST:PORT"; ValueError if it is none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--coordinator={address} (or {VARIABLES[0]}): use HOST:PORT of process 0")
    return host.strip("[]"), int(port)


def _slurm(environ) -> tuple | None:
    """The tasks of a step that srun started."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if any(name not in environ for name in names):
        return None
    job, nodes, count, process, local = (environ[name] for name in names)
    address = environ.get("JAX_COORDINATOR_ADDRESS")
    address = address or f"{first_node(nodes)}:{61440 + int(job) % 4096}"
    tasks = environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(",")[0].split("(")[0]
    return address, int(process), int(count), "SLURM", (int(local), int(tasks))


def first_node(nodes: str) -> str:
    """Returns the first host of a SLURM list such as "gpu[003-007,9],login1"."""
    prefix, bracket, rest = nodes.partition("[")
    if not bracket or "," in prefix:
        return nodes.split(",")[0]
    number, _, _ = rest.replace("-", ",").replace("]", ",").partition(",")
    tail = rest.partition("]")[2].split(",")[0]
    return f"{prefix}{number}{tail}"


def _open_mpi(environ) -> tuple | None:
    """The ranks of mpirun."""
    if "OMPI_COMM_WORLD_SIZE" not in environ or "OMPI_COMM_WORLD_RANK" not in environ:
        return None
    count, process = (int(environ[f"OMPI_COMM_WORLD_{name}"]) for name in ("SIZE", "RANK"))
    local = [environ.get(f"OMPI_COMM_WORLD_LOCAL_{name}") for name in ("RANK", "SIZE")]
    known = None if None in local else (int(local[0] or 0), int(local[1] or 1))
    address = environ.get("JAX_COORDINATOR_ADDRESS") or environ.get(VARIABLES[0])
    if address is None and known and known[1] == count:  # All on this machine.
        address = f"localhost:{PORT}"
    if address is None and count > 1:
        raise ValueError(
            "Open MPI does not say where rank 0 runs: set AVJAX_COORDINATOR=HOST:PORT for all "
            "ranks, e.g. mpirun -x AVJAX_COORDINATOR=$(hostname):8476"
        )
    return address, process, count, "Open MPI", known


def visible_devices(local: tuple[int, int] | None, environ: Mapping[str, str] = os.environ):
    """Returns the GPUs of this process among those of its machine; None for all that it sees.

    With several processes on a machine each gets an equal share of the GPUs, unless the scheduler
    has given each its own.

    Args:
      local: as of `Cluster`.
      environ: the variables.
    """
    named = environ.get("CUDA_VISIBLE_DEVICES")
    gpus = len([name for name in named.split(",") if name]) if named else len(gpu_models())
    if local is None or local[1] < 2 or gpus < 2 or "JAX_LOCAL_DEVICE_IDS" in environ:
        return None
    number, count = local
    if gpus % count:
        raise ValueError(f"{gpus} GPUs cannot be divided among {count} processes of {hostname()}")
    share = gpus // count
    return list(range(number * share, (number + 1) * share))


def gpu_models() -> list[str]:
    """Returns the model of each NVIDIA GPU of this machine, by the driver's files."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = [line.partition(":") for line in path.read_text("utf-8").splitlines()]
        found += [value.strip() for name, _, value in lines if name == "Model"]
    return found


def hostname() -> str:
    """Returns the name of this machine."""
    return socket.gethostname()
