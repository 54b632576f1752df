import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


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
