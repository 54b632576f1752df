"""Multiply-accumulates (MACs) of a net's convolutions and matrix products."""

import math

import jax


def gmacs(net, shape: tuple[int, ...], dtype="float32") -> float:
    """GMACs of one forward pass, counted in the traced program, as in papers.

    Zero padding of convolutions counts; nothing but convolutions and matrix products does.  Nothing
    is computed.

    Args:
      net: a Linen module (x, train).
      shape: of the input.
      dtype: of the input.
    """
    x = jax.ShapeDtypeStruct(shape, dtype)
    variables = jax.eval_shape(lambda key, x: net.init(key, x, False), jax.random.key(0), x)
    program = jax.make_jaxpr(lambda variables, x: net.apply(variables, x, False))(variables, x)
    return count_macs(program) / 1e9


def count_macs(program) -> int:
    """MACs of a jaxpr's convolutions and products, times the iterations of scans.

    Of the branches of a `cond` the cheapest counts, as a backend's own implementation may do more
    than the operation needs.  A `while` counts once.
    """
    total = 0
    for eqn in getattr(program, "jaxpr", program).eqns:
        inner = [count_macs(part) for part in sub_jaxprs(eqn.params)]
        if eqn.primitive.name == "cond":
            total += min(inner)
        else:
            total += sum(inner) * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
            total += eqn_macs(eqn)
    return total


def eqn_macs(eqn) -> int:
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


def sub_jaxprs(params):
    """The jaxprs among an equation's parameters."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(item, "eqns") or hasattr(item, "jaxpr"):
                yield item
