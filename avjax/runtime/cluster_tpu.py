"""The processes of a Cloud TPU: the workers of a slice, and slices of a multislice run.

On GKE variables name the workers; on a TPU VM the metadata server does.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

PORT = 8482
GOOGLE = "0x1ae0"  # PCI vendor, also of network cards.
GENERATIONS = {
    "0x0027": "TPU v2 or v3", "0x005e": "TPU v4", "0x0062": "TPU v5p", "0x0063": "TPU v5e",
    "0x006f": "TPU v6e", "0x0076": "TPU7x",
}  # fmt: skip
ATTEMPTS = 6


def chips() -> list[str]:
    """Returns the generation of each TPU chip of this machine, by its PCI devices."""
    found = []
    for path in sorted(Path("/sys/bus/pci/devices").glob("*")):
        try:
            if (path / "vendor").read_text().strip() == GOOGLE:
                found.append(GENERATIONS.get((path / "device").read_text().strip()))
        except OSError:  # The device was removed.
            continue
    return [name for name in found if name]


def detect(environ: Mapping[str, str]) -> tuple | None:
    """Returns (coordinator, process, count, source, None) on a Cloud TPU; None elsewhere.

    Args:
      environ: the variables.

    Raises:
      ValueError: the metadata server does not answer.
    """
    platforms = environ.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms:
        return None
    workers = environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES")
    if workers and "TPU_WORKER_ID" in environ:
        return _in_slices(workers.split(","), int(environ["TPU_WORKER_ID"]), environ, "GKE")
    if not chips() or environ.get("TPU_SKIP_MDS_QUERY"):
        return None
    number = _metadata("agent-worker-number", environ)
    if number is None:
        return None
    endpoints = (_metadata("worker-network-endpoints", environ) or "").split(",")
    lines = (line.partition(":") for line in (_metadata("tpu-env", environ) or "").splitlines())
    more = {name.strip(): value.strip().strip("'") for name, _, value in lines}
    # A name, or "NAME:NUMBER:IP".
    addresses = [part.split(":")[-1] for part in endpoints]
    return _in_slices(addresses, int(number), more | dict(environ), "Cloud TPU")


def _in_slices(workers: list[str], number: int, environ, source: str) -> tuple:
    """The process among those of all slices."""
    slices = int(environ.get("MEGASCALE_NUM_SLICES") or 1)
    own = int(environ.get("MEGASCALE_SLICE_ID") or 0)
    host = environ.get("MEGASCALE_COORDINATOR_ADDRESS") or workers[0]
    process, count = own * len(workers) + number, slices * len(workers)
    return f"{host.split(':')[0]}:{PORT}", process, count, source, None


def _metadata(key: str, environ) -> str | None:
    """Returns an attribute of this machine; None if it has no such attribute."""
    server = environ.get("GCE_METADATA_IP", "metadata.google.internal")
    url = f"http://{server}/computeMetadata/v1/instance/attributes/{key}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    for attempt in range(ATTEMPTS):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (http)
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            reason = str(error)
        except OSError as error:
            reason = str(error)
        time.sleep(0.1 * 2**attempt)
    raise ValueError(
        f"this machine has a TPU, and its metadata server {server} does not answer ({reason}): "
        f"set {', '.join(_names())}, or TPU_SKIP_MDS_QUERY=1 for a run on this machine alone"
    )


def _names() -> tuple[str, ...]:
    return ("AVJAX_COORDINATOR", "AVJAX_PROCESS_ID", "AVJAX_PROCESS_COUNT")
