"""Set-up of JAX in one process: the cache of compiled programs, logging, simulated CPU devices."""

import logging as python_logging
import os
import sys
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """Returns the folder of compiled programs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "avjax" / "compiled"


def set_up() -> None:
    """Sets up JAX in this process.

    Raises:
      ValueError: JAX_NUM_CPU_DEVICES is not a positive integer.
    """
    import jax
    from absl import flags, logging

    devices = os.environ.get("JAX_NUM_CPU_DEVICES", "1")
    if not devices.isdigit() or int(devices) < 1:
        raise ValueError(f"JAX_NUM_CPU_DEVICES={devices}: use a whole number of at least 1")
    flags.FLAGS.mark_as_parsed()  # Libraries read theirs.
    # Data sets are built several times: each message is shown once.
    python_logging.basicConfig(format="%(levelname)s: %(message)s")
    for handler in python_logging.getLogger().handlers:
        if type(handler) is python_logging.StreamHandler:  # Not those of an application.
            handler.addFilter(drop_duplicates())
    logging.set_verbosity(logging.WARNING)  # JAX reports every missing backend.
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"compiled programs are not cached: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def drop_duplicates() -> Callable:
    """Returns a filter for a logging handler that drops repeated messages."""
    seen = set()

    def first(record) -> bool:
        key = record.name, record.levelno, record.getMessage()
        new = key not in seen
        seen.add(key)
        return new

    return first
