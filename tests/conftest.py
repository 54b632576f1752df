import atexit
import importlib.metadata
import os
import shutil
import signal
import tempfile

# Most of the suite's time is compiling: it is done cheaply, and once for each program, in whatever
# process.  `XLA_FLAGS= python -m pytest` compiles as a run does.
CHEAP = "--xla_backend_optimization_level=1"  # 0 gives wrong gradients.
if importlib.metadata.version("jaxlib").startswith("0.10."):  # An unknown flag ends the process.
    CHEAP += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", CHEAP)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.mkdtemp(prefix="avjax-compiled-")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

import jax  # noqa: E402 (it reads these as it is imported)
import pytest  # noqa: E402

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # As a shell starts what it runs in the background; the programs that tests start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def ordinary_scheduling():
    """The encoder SVT-AV1 makes the thread of a root user real-time, and its children with it."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Where tests.tiny renders its files, once."""
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="session")
def golden():
    """A function name -> arrays computed once by a published reference program."""
    import functools
    import pathlib

    import numpy as np

    folder = pathlib.Path(__file__).parent / "golden"

    @functools.cache
    def load(name):
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            return {k: arrays[k] for k in arrays}

    return load


@pytest.fixture
def refuses(tmp_path, monkeypatch):
    """A function (bytes, reason): a file of PyTorch is refused, named, and runs nothing."""
    from avjax.weights import torch_file

    monkeypatch.chdir(tmp_path)
    canary, path = tmp_path / "CANARY", tmp_path / "x.pth"

    def check(content, reason):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason) as error:
            torch_file.read(path)
        assert str(path) in str(error.value)
        assert len(str(error.value)) < len(str(path)) + 600
        assert not canary.exists()

    return check
