"""Starts a run of several processes: they meet, compare what they are, and connect JAX.

`start` is called once, before JAX is used.  On a single machine it does nothing.
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from avjax.runtime import cluster, cluster_tpu, host_group, peer_channel
from avjax.runtime.host_group import Group
from avjax.runtime.host_hub import Hub

START_TIMEOUT = 300.0  # Seconds in which all processes must have come.
TIMEOUT_VARIABLE = "AVJAX_START_TIMEOUT"
MAX_TEXT = 200
# Environment that decides what a process computes with.
COMPARED = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "XLA_FLAGS", "LIBTPU_INIT_ARGS")

_JOINED: list[tuple[Group, Hub | None]] = []  # At most one.


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a run of several processes to the parser of a command."""
    group = parser.add_argument_group("several processes, see docs/concepts/several-hosts.md")
    add = group.add_argument
    add("--coordinator", metavar="HOST:PORT", help="of process 0 (AVJAX_COORDINATOR)")
    add("--process_id", metavar="N", help="number of this process, from 0 (AVJAX_PROCESS_ID)")
    add("--process_count", metavar="M", help="number of processes (AVJAX_PROCESS_COUNT)")


def current() -> Group | None:
    """Returns the group of this process; None if it is alone."""
    return _JOINED[0][0] if _JOINED else None


def start(found: cluster.Cluster | None, facts: Mapping[str, Any]) -> None:
    """Waits for all processes, refuses those that differ, and connects JAX.

    Args:
      found: as `cluster.detect` returns it; None does nothing.
      facts: {what: value} that must be the same in all processes; JSON.

    Raises:
      ValueError: a process does not come or differs; the message names it.
      RuntimeError: JAX was used before.
    """
    if found is None:
        return
    if _JOINED:
        raise RuntimeError("the processes of this run are connected already")
    timeout = float(os.environ.get(TIMEOUT_VARIABLE) or START_TIMEOUT)
    own = json.loads(
        json.dumps({"--process_count": found.count, **facts, **machine_facts()}, default=repr)
    )
    if found.process == 0:
        address, hub = _lead(found, own, timeout)
        _JOINED.append((hub.group, hub))
    else:
        address, group = _join(found, own, timeout)
        _JOINED.append((group, None))
    connect_jax(found, address, timeout)


def machine_facts() -> dict[str, Any]:
    """Returns what must be alike on all machines; JAX is not initialized."""
    devices = cluster.gpu_models() + cluster_tpu.chips()
    named = {f"the variable {name}": os.environ.get(name, "") for name in COMPARED}
    return {"accelerators": devices, **named}


def first_difference(name: str, other: Mapping, leader: str, own: Mapping) -> str:
    """Describes the first fact of `name` that is not that of process 0; "" if there is none."""
    for key in [*own, *(key for key in other if key not in own)]:
        a, b = (json.dumps(facts.get(key, "missing"))[:MAX_TEXT] for facts in (other, own))
        if a != b:
            return f"{name} has {key} = {a}, {leader} has {b}: start all processes alike"
    return ""


def _lead(found, facts, timeout) -> tuple[str, Hub]:
    """As process 0: waits for the others.  Returns (address of JAX's service, hub)."""
    host, port = cluster.split_address(found.coordinator)
    with peer_channel.listen(port) as server:
        others = peer_channel.accept(server, found.coordinator, found.count, timeout)
    own = f"process 0 ({cluster.hostname()})"
    problems = [
        first_difference(f"process {n} ({hello['host']})", hello.get("facts", {}), own, facts)
        for n, (_, hello) in sorted(others.items())
    ]
    problem = next(filter(None, problems), "")
    with socket.create_server(("", 0)) as free:
        address = f"{found.coordinator.rpartition(':')[0]}:{free.getsockname()[1]}"
    answer = {"refuse": problem} if problem else {"go": address, "host": cluster.hostname()}
    for channel, _ in others.values():
        channel.send(answer)
    if problem:
        raise ValueError(problem)
    channels = {n: (channel, hello["host"]) for n, (channel, hello) in others.items()}
    hub = Hub(channels, cluster.hostname())
    hub.start()
    return address, hub


def _join(found, facts, timeout) -> tuple[str, Group]:
    """As another process: goes to process 0.  Returns (address of JAX's service, group)."""
    channel = peer_channel.connect(found.coordinator, timeout)
    name = cluster.hostname()
    channel.send({"process": found.process, "host": name, "facts": facts})
    try:
        answer = channel.receive(timeout)
    except TimeoutError:
        answer = None
    if answer is None or not {"go", "refuse"} & answer.keys():
        raise ValueError(f"process 0 at {found.coordinator} ended before all had come: see its log")
    if "refuse" in answer:
        raise ValueError(answer["refuse"])
    return answer["go"], host_group.follow(channel, found.process, name, answer["host"])


def connect_jax(found: cluster.Cluster, address: str, timeout: float) -> None:
    """Connects JAX's processes and compares their devices.

    Args:
      found: the processes.
      address: of JAX's own service.
      timeout: in seconds.

    Raises:
      ValueError: the devices differ.
    """
    import jax

    # SIGTERM is avjax's: JAX's handler would swallow it.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        address,
        found.count,
        found.process,
        local_device_ids=cluster.visible_devices(found.local),
        cluster_detection_method="deactivate",
        initialization_timeout=int(timeout),
    )
    kinds: dict[int, list[str]] = {n: [] for n in range(found.count)}
    for device in jax.devices():
        kinds[device.process_index].append(device.device_kind)
    for process, own in kinds.items():
        if own != kinds[0]:
            a, b = (f"{len(found)} x {found[0] if found else 'none'}" for found in (own, kinds[0]))
            raise ValueError(
                f"process {process} has the devices {a}, process 0 {b}: all must have the same"
            )


def fail(line: str, unexpected: bool) -> None:
    """Ends this process and all others after an error; does nothing if it is alone.

    Args:
      line: what happened.
      unexpected: whether the death of another process may have caused it; that is named then.
    """
    if not _JOINED:
        return
    group, _ = _JOINED[0]
    if unexpected:
        time.sleep(host_group.VERDICT_SECONDS)
    group.done = True
    group.tell({"end": f"{group.name} failed: {line[:MAX_TEXT]}"})
    group.exit(line, 1)


def finish() -> None:
    """Waits until all processes have done their work; does nothing if this one is alone."""
    if not _JOINED:
        return
    import jax

    sys.stdout.flush()
    _JOINED[0][0].leave()
    _JOINED.clear()
    jax.distributed.shutdown()
