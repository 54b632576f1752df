"""A program compiled ahead of time, and the compiler's account of it; cached on disk."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from avjax.planning import collectives
from avjax.planning.collectives import Collective
from avjax.planning.topology import Topology
from avjax.runtime.atomic import write_atomic

ACCOUNT_VERSION = "2"  # Of what is kept.
SECONDS_PER_LINE = 60  # Between two lines of progress.
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Account(NamedTuple):
    """What a compiler says of a program, per device.

    Attributes:
      peak: bytes of arguments, results and temporaries together.
      temporaries: bytes beside arguments and results.
      code: bytes of the program itself; 0 on a CPU, where it is not in the devices' memory.
      flops: floating-point operations; the body of a loop counts once.
      traffic: bytes read and written; the body of a loop counts once.
      collectives: see `collectives.parse`.
      refused: "" if it compiled; else what the compiler says, as it does not fit.  Then `peak` is
        what it needs, if the compiler says it, and the rest is 0.
      seconds: of compilation.
    """

    peak: int
    temporaries: int
    code: int
    flops: float
    traffic: float
    collectives: list[Collective]
    refused: str
    seconds: float


def account(lowered: Any, topology: Topology, title: str) -> Account:
    """Compiles a program, or reads the account of it from the cache; prints progress.

    Args:
      lowered: what `jax.jit(...).lower` returns.
      topology: the devices.
      title: of the program, for the lines of progress.
    """
    path = cache_folder() / f"{cache_key(lowered, topology)}.json"
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        kept = Account(**json.loads(path.read_text()))
        return kept._replace(collectives=[Collective(*c) for c in kept.collectives])
    start = time.monotonic()
    with progress_lines(title):
        found = _compile(lowered, topology.platform, topology.count)
    found = found._replace(seconds=time.monotonic() - start)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(found._asdict()))
    return found


def _compile(lowered, platform, devices):
    """Returns the Account of a program; a program that does not fit is `refused`."""
    import jax

    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        text = " ".join(str(error).split())
        return Account(needed_bytes(text), 0, 0, 0.0, 0.0, [], text[:400], 0.0)
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
    both = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return Account(
        both - memory.alias_size_in_bytes + memory.temp_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.generated_code_size_in_bytes if platform == "tpu" else 0,
        costs.get("flops", 0.0),
        costs.get("bytes accessed", 0.0),
        collectives.parse(compiled.as_text() or "", devices) if devices > 1 else [],
        "",
        0.0,
    )


def needed_bytes(text: str) -> int:
    """Returns the bytes that a refused program needs, from the TPU compiler's message; 0 if none.

    Args:
      text: the message: "... Used 20.10G of 15.75G hbm ...".
    """
    if match := re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", text):
        return int(float(match[1]) * UNITS[match[2]])
    return 0


def cache_folder() -> Path:
    """Returns the folder of the accounts; it may be deleted at any time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "avjax" / "plans"


def cache_key(lowered: Any, topology: Topology) -> str:
    """Returns a hash of a program, its devices, the compilers and their flags.

    Args:
      lowered, topology: as of `account`.
    """
    tpu = topology.platform == "tpu"
    packages = ("jax", "jaxlib", *(["libtpu"] if tpu else []))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    devices = topology.text if tpu else f"cpu:{topology.count}"
    words = "\n".join([ACCOUNT_VERSION, devices, *versions, *flags, lowered.as_text()])
    return hashlib.sha256(words.encode()).hexdigest()[:32]


@contextlib.contextmanager
def progress_lines(title: str) -> Iterator[None]:
    """Prints a line on stderr every minute while the block runs.

    Args:
      title: what it is.
    """
    done, start = threading.Event(), time.monotonic()
    print(f"compiling {title} ...", file=sys.stderr, flush=True)

    def report():
        while not done.wait(SECONDS_PER_LINE):
            seconds = time.monotonic() - start
            print(f"compiling {title}: {seconds:.0f} s", file=sys.stderr, flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
