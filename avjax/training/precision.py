"""Finds convolutions that a device computes wrongly in 16 bits, and runs them in float32.

Known cases: on some GPUs XLA finds no algorithm for a convolution in bfloat16 and the program does
not compile (https://github.com/jax-ml/jax/issues/37922), or a library returns wrong values for some
shapes (https://github.com/pytorch/pytorch/issues/163539).
"""

import concurrent.futures
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from avjax.types import Method

COMPARED_OUTPUTS = ("output", "kernel's gradient", "input's gradient")


class ConvSpec(NamedTuple):
    """What determines a convolution on the device: layer type, parameter and input shapes."""

    layer: nn.Module  # Unbound.
    params: dict[str, tuple[int, ...]]
    shape: tuple[int, ...]  # Of the input.
    dtype: jnp.dtype


def with_float32_fallback(method: Method, params, state, batch) -> Method:
    """Returns `method` with those convolutions in float32 that this device computes wrongly.

    Prints one line that names them.  They are tested with a few examples: errors that occur with
    large batches only are not found.

    Args:
      method: the method.
      params, state, batch: arrays or shapes; only the shapes are used.
    """
    # More than one, as GPU libraries choose algorithms by size.
    few = 1 if jax.default_backend() == "cpu" else 4
    found = [
        (form._replace(shape=(min(few, form.shape[0]), *form.shape[1:])), paths)
        for form, paths in low_precision_convs(method.loss, params, state, batch, jax.random.key(0))
    ]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # Compiling takes longest.
        words = list(pool.map(conv_error, [form for form, _ in found]))
    wrong = np.array([bool(w) for w in words])
    if found and jax.process_count() > 1:  # All hosts must run the same program.
        wrong = multihost_utils.process_allgather(wrong).any(0)
    if not wrong.any():
        return method
    bad = [(*part, w or "on another host") for part, w, yes in zip(found, words, wrong) if yes]
    lines = "; ".join(f"{', '.join(paths)} ({w})" for _, paths, w in bad)
    kind = jax.local_devices()[0].device_kind
    print(f"convolutions that {kind} computes wrongly, run in float32: {lines}", flush=True)
    layers = frozenset(path for _, paths, _ in bad for path in paths)
    parts = {name: in_float32(f, layers) for name, f in method._asdict().items() if callable(f)}
    return method._replace(**parts)


def low_precision_convs(f: Callable, *args) -> list[tuple[ConvSpec, list[str]]]:
    """Returns (spec, paths of its layers) of each 16-bit convolution in `f(*args)`.

    Whether a layer computes in 16 bits is read off the trace, so that it does not matter where its
    type is set.  Only Flax layers with a `dtype` are found.
    """
    found = {}

    def watch(call, args, kwargs, context):
        y, layer = call(*args, **kwargs), context.module
        if context.method_name == "__call__" and (low := _low_dtype(layer, args)):
            params = {k: jnp.shape(v) for k, v in layer.variables.get("params", {}).items()
                      if not isinstance(v, dict)}  # fmt: skip
            if len(params.get("kernel", ())) > 2:
                alone = layer.clone(parent=None, name=None, dtype=low.name)
                form = ConvSpec(alone, params, args[0].shape, args[0].dtype)
                _, paths = found.setdefault(repr(form), (form, []))
                if (path := "/".join(layer.path)) not in paths:
                    paths.append(path)
        return y

    def watched(*args):  # A new function: a function traced before is not traced again.
        with nn.intercept_methods(watch):
            return f(*args)

    jax.eval_shape(watched, *args)
    return list(found.values())


def in_float32(f: Callable, layers: Iterable[str]) -> Callable:
    """Returns `f` with the layers at these paths computed in float32, their outputs rounded."""

    def widen(call, args, kwargs, context):
        layer = context.module
        if context.method_name != "__call__" or "/".join(layer.path) not in layers:
            return call(*args, **kwargs)
        if not (low := _low_dtype(layer, args)):
            return call(*args, **kwargs)
        if layer.is_initializing():
            call(*args, **kwargs)  # Makes the parameters; its output is not used.
        return _as_float32(layer).apply(layer.variables, *args, **kwargs).astype(low)

    @functools.wraps(f)
    def wide(*args, **kwargs):
        with nn.intercept_methods(widen):
            return f(*args, **kwargs)

    return wide


def conv_error(form: ConvSpec) -> str:
    """Returns what is wrong with a convolution on this device as text; "" if nothing is.

    The output and both gradients must agree with those in float32 within 4 epsilons of the 16-bit
    type, relative to the largest value.
    """
    rng, low = np.random.default_rng(0), jnp.dtype(form.layer.dtype)

    def rounded(scale, shape, dtype: Any = np.float32):
        values = scale * rng.standard_normal(shape, np.float32)
        return values.astype(low).astype(dtype)

    params = {k: rounded(np.prod(s[:-1]) ** -0.5, s) for k, s in form.params.items()}
    x = rounded(1.0, form.shape, form.dtype)
    y = jax.eval_shape(lambda x: form.layer.apply({"params": params}, x), x)
    try:
        errors = jax.device_get(_jit_relative_errors(form)(params, x, rounded(1.0, y.shape)))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):  # Not a wrong convolution.
            raise
        return f"fails: {str(error).splitlines()[0]}"
    for name, value in zip(COMPARED_OUTPUTS, errors):
        if not value <= 4 * float(jnp.finfo(low).eps):
            return f"{name} off by {value:.0%}" if np.isfinite(value) else f"{name} not finite"
    return ""


def _jit_relative_errors(form):
    return jax.jit(functools.partial(_relative_errors, form.layer))


def _relative_errors(layer, params, x, dy):
    """Returns the error of each of COMPARED_OUTPUTS in 16 bits, relative to the largest value."""

    def run(layer):
        def apply(kernel, x):
            return layer.apply({"params": {**params, "kernel": kernel}}, x).astype(jnp.float32)

        y, back = jax.vjp(apply, params["kernel"], x)
        return y, *back(dy)

    def share(low, wide):
        low, wide = low.astype(jnp.float32), wide.astype(jnp.float32)
        return jnp.abs(low - wide).max() / jnp.abs(wide).max()

    return tuple(map(share, run(layer), run(_as_float32(layer))))


def _low_dtype(layer, args):
    """Returns the 16-bit type that a layer computes `args` in; None if it is another one."""
    if not hasattr(layer, "dtype") or not args:
        return None
    dtype = layer.dtype
    if dtype is None:  # That of the input and the kernel, as in Flax.
        kernel = layer.variables.get("params", {}).get("kernel")
        own = getattr(layer, "param_dtype", jnp.float32) if kernel is None else kernel.dtype
        dtype = jnp.result_type(args[0].dtype, own)
    return jnp.dtype(dtype) if jnp.dtype(dtype).itemsize == 2 else None


def _as_float32(layer):
    return layer.clone(parent=None, name=None, dtype="float32")
