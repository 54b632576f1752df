"""Compiling for checks, which run once."""

import jax


def compile_fast(f, *args):
    """Compiles `f` for `args` without trying several algorithms for each operation on a GPU.

    Args:
      f: a function, jitted or not.
      args: arrays or shapes.
    """
    device = jax.config.jax_default_device
    platform = device.platform if device is not None else jax.default_backend()
    options = {"xla_gpu_autotune_level": 0} if platform == "gpu" else {}
    jitted = f if hasattr(f, "lower") else jax.jit(f)
    return jitted.lower(*args).compile(compiler_options=options)
