"""Every layer of every net, forward and backward, against the CPU in float32.

A layer gets the same inputs, weights and gradients of its outputs on both sides, rounded to
bfloat16 before, so that what remains is its own rounding: once or twice by at most 2^-9 of a
value.  2^-7 is the bound.  A layer that adds up many values in bfloat16 is off by more, a wrong one
by about 1.  Max pooling does add up the gradients of overlapping windows, up to 27, in bfloat16:
its bound is 2^-6.  Front ends compute in float32 and may lose what TF32 loses: 2^-11 of each
factor, and 2^-9 is their bound.
"""

import concurrent.futures
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.accelerator_parts import nets, report
from benchmarks.accelerator_parts.compiling import compile_fast

TITLE = "layers against float32 on the CPU"
BOUND, POOL_BOUND, FLOAT32_BOUND = 2.0**-7, 2.0**-6, 2.0**-9
PER_PROGRAM = 8  # Layers that are compiled together.
DRY_NETS = ("avid audio, small", "pixels", "mlp")


class Layer(NamedTuple):
    """A call of a module that calls no other module, or of a front end.

    Attributes:
      module: unbound.
      variables: shapes of its variables.
      args, kwargs: of the call; arrays as shapes.
      low: whether it computes in 16 bits.
      bound: of its errors.
    """

    module: nn.Module
    variables: dict
    args: tuple
    kwargs: dict
    low: bool
    bound: float


def run(add, dry):
    """A row per net: its worst layer."""
    chosen = {n: v for n, v in nets.nets(dry).items() if not dry or n in DRY_NETS}
    calls = {"max pooling": pools(dry)}
    results, cpu, waiting = {}, jax.devices("cpu")[0], {}
    with concurrent.futures.ThreadPoolExecutor(2 if dry else 8) as pool:  # Compiling is slow.
        for name in ("max pooling", *chosen):
            if name in chosen:
                calls[name] = layers(*chosen[name])
            new = [(key, layer) for key, (layer, _) in calls[name].items() if key not in results]
            results |= dict.fromkeys((key for key, _ in new), {"error": float("inf")})
            parts = [new[i : i + PER_PROGRAM] for i in range(0, len(new), PER_PROGRAM)]
            waiting[name] = [(part, pool.submit(compare, part, cpu)) for part in parts]
        for name, parts in waiting.items():
            for part, future in parts:
                each = report.guard(add, TITLE, {"net": name}, future.result)
                results |= dict(zip((key for key, _ in part), each or ()))
            add(TITLE, {"net": name} | worst(calls[name], results))


def worst(calls, results):
    """The columns of a net: its layer that is farthest from its bound."""
    shares, most, row = [], -1.0, {}
    for key, (layer, path) in calls.items():
        bound = layer.bound
        for what, value in results[key].items():
            shares.append(value <= bound)
            if value / bound > most:
                most = value / bound
                row = {"worst layer": path, "of it": what, "off by": value, "bound": bound}
    return {"layers": len(calls)} | row | {"passed": all(shares)}


def layers(net, batch):
    """{key: (Layer, path)} of the distinct layers of `net` applied to `batch` in training."""
    found, inner = {}, []

    def watch(call, args, kwargs, context):
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        inner[-1:] = [True]
        inner.append(False)
        y = call(*args, **kwargs)
        whole = not context.module.path and not hasattr(context.module, "dtype")  # A front end.
        if not inner.pop() or whole:
            layer = record(context.module, args, kwargs)
            found.setdefault(repr(layer), (layer, "/".join(context.module.path) or "itself"))
        return y

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    variables = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, False), shapes)
    with nn.intercept_methods(watch):
        jax.eval_shape(
            lambda v, x: net.apply(v, x, True, mutable=["batch_stats"]), variables, shapes
        )
    return found


def record(module, args, kwargs):
    """The Layer of a call of `module`."""
    shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if hasattr(x, "shape") else x
    args, kwargs, variables = (
        jax.tree.map(shape, tree) for tree in (args, kwargs, module.variables)
    )
    dtype = jnp.dtype(getattr(module, "dtype", None) or args[0].dtype)
    low = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize == 2
    bound = BOUND if low else FLOAT32_BOUND
    return Layer(module.clone(parent=None, name=None), variables, args, kwargs, low, bound)


def pools(dry):
    """As `layers`, of max pooling, which is no module of the nets."""
    found = {}
    for name, (pool, x) in nets.pools(dry).items():
        found[name] = Layer(pool, {}, (x, True), {}, True, POOL_BOUND), name
    return found


def compare(named, cpu):
    """[{quantity: relative error}] of [(key, layer)] on this device against the CPU."""
    group = [layer for _, layer in named]
    values = [draw(layer, seed) for seed, layer in enumerate(group)]
    low = compile_fast(functools.partial(values_of, group), values)(values)
    wide = [widen(layer) for layer in group]
    with jax.default_device(cpu):
        values = jax.tree.map(to_float32, values)
        high = compile_fast(functools.partial(values_of, wide), values)(values)
    low, high = jax.device_get((low, high))
    return [
        {name: relative(a[name], b[name]) for name in b if np.any(b[name])}
        for a, b in zip(low, high, strict=True)
    ]


def draw(layer, seed):
    """(variables, input, gradient of the output) as NumPy arrays, rounded to bfloat16."""
    rng = np.random.default_rng(seed)
    y = jax.eval_shape(functools.partial(apply, layer), layer.variables, layer.args[0])

    def one(path, leaf):
        if not hasattr(leaf, "shape"):
            return leaf
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            most = 255 if leaf.dtype == jnp.uint8 else 20_000
            return rng.integers(-most * (leaf.dtype != jnp.uint8), most, leaf.shape, leaf.dtype)
        name = jax.tree_util.keystr(path[-1:], simple=True)
        x = rng.standard_normal(leaf.shape)
        if name == "kernel":
            x = x * np.prod(leaf.shape[:-1]) ** -0.5
        if name in ("scale", "var", "deviation"):
            x = 1 + np.abs(x)
        return x.astype(jnp.bfloat16).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, (layer.variables, layer.args[0], y))


def widen(layer):
    """The layer in float32; one in float32 already as it is."""
    module = layer.module
    if layer.low and getattr(module, "dtype", None) is not None:
        module = module.clone(dtype="float32")
    return layer._replace(module=module)


def to_float32(x):
    return x.astype(np.float32) if x.dtype == jnp.bfloat16 else x


def values_of(group, values):
    """[{quantity: array}] of the layers: outputs, and gradients of all that is not a number."""
    return [outputs_and_gradients(layer, *each) for layer, each in zip(group, values)]


def apply(layer, variables, x):
    """The output of a layer in training."""
    rest = layer.args[1:]
    return layer.module.apply(variables, x, *rest, **layer.kwargs, mutable=["batch_stats"])[0]


def outputs_and_gradients(layer, variables, x, slope) -> dict[str, Any]:
    """{"output", "gradient of ...": flat arrays in float32}."""
    params = variables.get("params", {})
    f = lambda params, x: apply(layer, {**variables, "params": params}, x)
    if not jnp.issubdtype(x.dtype, jnp.floating):  # Samples or pixels have no gradient.
        y, back = jax.vjp(lambda params: f(params, x), params)
        (dparams,), inputs = back(slope), {}
    else:
        y, back = jax.vjp(f, params, x)
        dparams, dx = back(slope)
        inputs = {"gradient of its input": dx}
    out = {"output": y} | inputs | {f"gradient of its {k}": v for k, v in dparams.items()}
    return {name: ravel_pytree(tree)[0].astype(jnp.float32) for name, tree in out.items()}


def relative(got, want):
    """The distance of two arrays, relative to the length of the second; inf for NaN."""
    far = np.linalg.norm(got.astype(np.float64) - want) / np.linalg.norm(want.astype(np.float64))
    return float(far) if np.isfinite(far) else float("inf")
