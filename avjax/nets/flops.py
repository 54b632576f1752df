"""How much a net computes: the multiplications of its convolutions and products."""

import math

import jax


def gmacs(net, shape: tuple[int, ...], dtype="float32") -> float:
    """1e9 multiplications with addition of one forward pass of `net` for an input of `shape`.

    Counted in the traced program, as in papers: with those of the zeros that pad a convolution,
    and nothing else but convolutions and matrix products.  Nothing is computed.
    """
    x = jax.ShapeDtypeStruct(shape, dtype)
    variables = jax.eval_shape(lambda key, x: net.init(key, x, False), jax.random.key(0), x)
    program = jax.make_jaxpr(lambda variables, x: net.apply(variables, x, False))(variables, x)
    return macs(program) / 1e9


def macs(program) -> int:
    """Multiplications of a jaxpr's convolutions and products, a loop's as often as it turns.

    Of alternatives the cheapest counts: a backend's own form of an operation may do more than
    the operation asks for.  Of a `while`, whose turns are not known, one turn.
    """
    total = 0
    for eqn in getattr(program, "jaxpr", program).eqns:
        inner = [macs(part) for part in parts(eqn.params)]
        if eqn.primitive.name == "cond":
            total += min(inner)
        else:
            total += sum(inner) * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
            total += multiplications(eqn)
    return total


def multiplications(eqn) -> int:
    """Those of one equation, if it is a convolution, its padding included, or a product."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        left = eqn.invars[0].aval.shape
        return eqn.outvars[0].aval.size * math.prod(left[i] for i in contracted)
    if eqn.primitive.name == "conv_general_dilated":
        kernel = eqn.invars[1].aval
        outputs = kernel.shape[eqn.params["dimension_numbers"].rhs_spec[0]]
        return eqn.outvars[0].aval.size * kernel.size // outputs
    return 0


def parts(params):
    """The programs among an equation's parameters."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(item, "eqns") or hasattr(item, "jaxpr"):
                yield item
