"""The temperature of a contrastive loss: fixed or learned."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.types import Array, ContrastiveLoss, Tree


class Temperature(NamedTuple):
    """Divisor of the scores, and their bias if it is learned.

    Attributes:
      init: () -> params, {} if nothing is learned.
      apply: (params, loss_fn) -> (temperature, loss_fn).
      init_value: the temperature before training, which `nce` uses to compute Z.
    """

    init: Callable[[], Tree]
    apply: Callable[[Tree, ContrastiveLoss], tuple[Array | float, ContrastiveLoss]]
    init_value: float


def fixed_temperature(temperature: float) -> Temperature:
    """A constant temperature; the bias of the loss stays as it is.

    Args:
      temperature: above 0.

    Returns:
      A Temperature without parameters.
    """
    ranges.check_number("temperature", temperature, above=0)
    return Temperature(dict, lambda params, loss_fn: (temperature, loss_fn), temperature)


def learned_temperature(
    temperature: float, min_value: float = 0.01, bias: float | None = None
) -> Temperature:
    """Learnable temperature and optional bias, initialized to these values.

    The parameter is the logarithm, as in CLIP (Radford et al., ICML 2021,
    https://arxiv.org/abs/2103.00020, which has 0.07 and 0.01).  SigLIP starts from 0.1 and a bias
    of -10.

    Args:
      temperature: initial value.
      min_value: lower bound of the temperature.
      bias: initial bias, which must equal that of the loss; None for a bias that is not learned.

    Returns:
      A Temperature with the parameters "logit_scale" and, if given, "bias".

    Raises:
      ValueError: temperature is below min_value; from `apply`, the loss has another bias.
    """
    ranges.check_number("min_value", min_value, above=0)
    ranges.check_number("temperature", temperature, minimum=min_value)

    def init():
        params = {"logit_scale": jnp.full((), -math.log(temperature))}
        return params if bias is None else params | {"bias": jnp.full((), float(bias))}

    def apply(params, loss_fn):
        if bias is not None and not math.isclose(bias, loss_fn.bias):
            raise ValueError(
                f"config.method.loss_fn: bias={loss_fn.bias} contradicts "
                f"config.method.temperature: bias={bias}; use the same in both, or "
                "--config.method.temperature.bias=None"
            )
        logit_scale = clamp_max(params["logit_scale"], -math.log(min_value))
        return jnp.exp(-logit_scale), loss_fn._replace(bias=params.get("bias", loss_fn.bias))

    return Temperature(init, apply, temperature)


@jax.custom_vjp
def clamp_max(x: Array, bound: float) -> Array:
    """min(x, bound) of float [...]; beyond the bound only gradients that lead back pass."""
    return jnp.minimum(x, bound)


clamp_max.defvjp(
    lambda x, bound: (jnp.minimum(x, bound), (x, bound)),
    lambda saved, g: (jnp.where((saved[0] < saved[1]) | (g > 0), g, 0.0), None),
)
