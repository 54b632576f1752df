"""XLA flags that suit the devices of this machine, tried before they are used.

XLA ends a process that has a flag that it does not know, so each set is tried in a process of its
own, once per version of jaxlib.  Flags of the variable XLA_FLAGS come first; AVJAX_XLA_FLAGS=none
adds none.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from avjax.runtime import cluster
from avjax.runtime.atomic import write_atomic

VARIABLE = "AVJAX_XLA_FLAGS"
PROBE_SECONDS = 120
PROBE = "import jax; jax.config.update('jax_platforms', 'cpu'); jax.devices()"


class Preset(NamedTuple):
    """Flags of a kind of device.

    Attributes:
      version: of the preset, recorded in the run.
      models: a regular expression of the device's model.
      jaxlib: first version, and first version without it.
      flags: of XLA.
    """

    version: str
    models: str
    jaxlib: tuple[tuple[int, int], tuple[int, int]]
    flags: tuple[str, ...]


PRESETS = (
    Preset(
        "nvidia-1",
        "NVIDIA|Tesla|GeForce|Quadro",
        ((0, 10), (0, 13)),
        (
            "--xla_gpu_enable_latency_hiding_scheduler=true",
            "--xla_gpu_enable_highest_priority_async_stream=true",
        ),
    ),
)


def choose(models: Sequence[str], jaxlib: str, presets: Sequence[Preset] = PRESETS):
    """Returns the preset of the first device model that has one, else None."""
    version = tuple(int(part) for part in jaxlib.split(".")[:2])
    for preset in presets:
        first, end = preset.jaxlib
        if models and re.search(preset.models, models[0]) and first <= version < end:
            return preset
    return None


def unknown_flags(flags: Sequence[str]) -> list[str]:
    """Returns those flags that this XLA does not accept; found out in another process."""
    refused: list[str] = []
    while kept := [flag for flag in flags if flag not in refused]:
        done = subprocess.run(  # noqa: S603 (this Python)
            [sys.executable, "-c", PROBE],
            env=os.environ | {"XLA_FLAGS": " ".join(kept), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
        )
        if done.returncode == 0:
            break
        named = [flag for flag in kept if re.search(re.escape(flag) + r"(\s|$)", done.stderr)]
        refused += named or kept
    return refused


def accepted_flags(preset: Preset, jaxlib: str, cache: Path | None, probe: Callable) -> list[str]:
    """Returns the flags of a preset that XLA accepts.

    Args:
      preset: the preset.
      jaxlib: its version.
      cache: file of earlier answers; None for none.
      probe: as `unknown_flags`.
    """
    key, known = f"{jaxlib} {' '.join(preset.flags)}", {}
    if cache and cache.exists():
        try:
            known = json.loads(cache.read_text("utf-8"))
        except ValueError:
            known = {}
    if key not in known:
        known[key] = probe(preset.flags)
        if cache:
            write_atomic(cache, json.dumps(known, indent=1))
    if known[key]:
        print(f"this XLA does not know {', '.join(known[key])}: left out", file=sys.stderr)
    return [flag for flag in preset.flags if flag not in known[key]]


def apply(cache: Path | None = None, probe: Callable = unknown_flags) -> None:
    """Adds the flags of this machine's devices to XLA_FLAGS, before JAX reads it.

    Args:
      cache: file of earlier answers.
      probe: as `unknown_flags`.

    Raises:
      ValueError: AVJAX_XLA_FLAGS is neither "none" nor "default".
    """
    wanted = os.environ.get(VARIABLE, "default")
    if wanted not in ("default", "none"):
        raise ValueError(f"{VARIABLE}={wanted}: use default or none")
    jaxlib = importlib.metadata.version("jaxlib")
    gpu = "cpu" not in os.environ.get("JAX_PLATFORMS", "")
    preset = choose(cluster.gpu_models() if gpu else (), jaxlib)
    _applied.clear()
    if preset is None or wanted == "none":
        return
    given = os.environ.get("XLA_FLAGS", "")
    flags = accepted_flags(preset, jaxlib, cache, probe)
    new = [flag for flag in flags if flag.partition("=")[0] not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *new]).strip()
    _applied["preset"] = preset.version


_applied: dict[str, str] = {}


def used() -> Mapping[str, str]:
    """Returns the flags that this process runs with, for the record of the run."""
    names = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
    return {name: os.environ[name] for name in names if os.environ.get(name)} | _applied
