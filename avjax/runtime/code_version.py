"""The versions of the code that decides the numbers of a run, so that a resumed run notices others.

Of avjax itself the source files count: between two releases its version does not change.
"""

import functools
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import avjax
from avjax.runtime import provenance

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
# What a training step depends on; reports, evaluations and commands may change.
FOLDERS = ("data", "losses", "methods", "nets", "ops", "training")


def current() -> dict[str, str]:
    """Returns {library: version}, and a hash of avjax's own source files as "avjax sources"."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "avjax": avjax.__version__,
        "avjax sources": _hash_sources(Path(avjax.__file__).parent),
        **versions,
    }


def facts() -> dict[str, str]:
    """Returns `current()` and the version of Python, named for a comparison of machines."""
    found = {f"the version of {name}": version for name, version in current().items()}
    return found | {"the version of Python": platform.python_version()}


def check_unchanged(workdir: str | os.PathLike, allow_changed: bool) -> list[str]:
    """Compares the code with that of the run's last session; writes nothing.

    Args:
      workdir: the folder of the run.
      allow_changed: whether changes are allowed.

    Returns:
      The changes, e.g. "jax 0.10.0 -> 0.10.2"; [] for a new run, or one that does not say.

    Raises:
      ValueError: the code changed and `allow_changed` is False.
    """
    sessions = provenance.read(workdir).get("sessions") or [{}]
    old, new = sessions[-1].get("code") or {}, current()
    changes = [
        f"{name} {old[name]} -> {new[name]}"
        for name in new
        if old.get(name, new[name]) != new[name]
    ]
    if changes and not allow_changed:
        raise ValueError(
            f"the run in {workdir} was made by other code ({', '.join(changes)}), which may change "
            "its numbers: install that, choose another --workdir, or accept the change with "
            "--allow_changed_code"
        )
    return changes


@functools.cache  # As they are when this process starts.
def _hash_sources(package: Path) -> str:
    """Returns a short hash of the source files that a training step depends on."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(path for name in FOLDERS for path in (package / name).rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
