"""Multiply-accumulates (MACs) of the convolutions and matrix products of a traced program."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def gmacs(net: Any, shape: tuple[int, ...], dtype="float32") -> float:
    """GMACs of one forward pass, counted in the traced program, as in papers.

    Zero padding of convolutions counts; nothing but convolutions and matrix products does.  Nothing
    is computed.

    Args:
      net: a Linen module (x, train).
      shape: of the input.
      dtype: of the input.

    Returns:
      10^9 MACs.
    """
    x = jax.ShapeDtypeStruct(shape, dtype)
    variables = jax.eval_shape(lambda key, x: net.init(key, x, False), jax.random.key(0), x)
    program = jax.make_jaxpr(lambda variables, x: net.apply(variables, x, False))(variables, x)
    return count_macs(program) / 1e9


def count_macs(
    program: Any, branch: Callable[[list[int]], int] = min, all_iterations: bool = True
) -> int:
    """MACs of the convolutions and products of a jaxpr, on all devices.

    The number of iterations of a `while` is not known: one is counted.

    Args:
      program: a Jaxpr or ClosedJaxpr.
      branch: which branch of a `cond` counts: `min`, as a backend's own implementation may do more
        than the operation needs, or `max`.
      all_iterations: whether a `scan` counts as often as it iterates; False counts one iteration.
    """
    total = 0
    for eqn in getattr(program, "jaxpr", program).eqns:
        name = eqn.primitive.name
        inner = [count_macs(part, branch, all_iterations) for part in sub_jaxprs(eqn.params)]
        if name == "cond":
            total += branch(inner)
            continue
        times = eqn.params["length"] if name == "scan" and all_iterations else 1
        if name == "shard_map":  # Its jaxpr is that of one device.
            times = eqn.params["mesh"].size
        total += times * sum(inner) + eqn_macs(eqn)
    return total


def eqn_macs(eqn: Any) -> int:
    """MACs of one equation, if it is a convolution (padding included) or a product."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        left = eqn.invars[0].aval.shape
        return eqn.outvars[0].aval.size * math.prod(left[i] for i in contracted)
    if eqn.primitive.name == "conv_general_dilated":
        kernel = eqn.invars[1].aval
        outputs = kernel.shape[eqn.params["dimension_numbers"].rhs_spec[0]]
        return eqn.outvars[0].aval.size * kernel.size // outputs
    return 0


def sub_jaxprs(params: dict) -> Iterator[Any]:
    """The jaxprs among an equation's parameters."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(item, "eqns") or hasattr(item, "jaxpr"):
                yield item
