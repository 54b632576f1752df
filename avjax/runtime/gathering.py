"""Arrays that are split over "fsdp" and gathered on each device for the time of a step.

Without it the compiler would rather split the nets' activations than gather their kernels.
"""

import functools
from collections.abc import Callable

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec as P

from avjax.types import Tree

AXIS = "fsdp"
MAX_FUNCTIONS = 16  # As many as `training.step` keeps.


def gather_before(fn: Callable, shardings: tuple[Tree, ...]) -> Callable:
    """Returns `fn` whose first arguments are gathered before; `fn` itself if nothing is.

    A leaf that is split over "fsdp" and over no other axis is gathered, and its gradient is split
    again (as in ZeRO, Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054).  What is split
    over "data" too, such as the rows of a memory bank, stays split.

    Args:
      fn: a function.
      shardings: of its first arguments.
    """
    leaves, structure = jax.tree.flatten(shardings)
    if not any(map(is_gathered, leaves)):
        return fn
    return _gather_before(fn, tuple(leaves), structure)


@functools.lru_cache(maxsize=MAX_FUNCTIONS)
def _gather_before(fn, leaves, structure):
    """`gather_before`, the same function for the same arguments, so that JAX traces it once."""
    places = jax.tree.unflatten(structure, leaves)

    @functools.wraps(fn)
    def gathering(*args):
        first = jax.tree.map(
            lambda place, x: _gather(place, x) if is_gathered(place) else x,
            places,
            args[: len(places)],
        )
        return fn(*first, *args[len(places) :])

    return gathering


def is_gathered(place: NamedSharding) -> bool:
    """Whether a step gathers what is stored so: it is split over "fsdp" alone."""
    return place.mesh.shape.get(AXIS, 1) > 1 and set(jax.tree.leaves(tuple(place.spec))) == {AXIS}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gather(place, x):
    return _replicate(place, x)


def _forward(place, x):
    return _gather(place, x), None


def _backward(place, _, slope):
    # Summed, then split: if split at once, the compiler would split the activations like it.
    return (lax.with_sharding_constraint(_replicate(place, slope), place),)


def _replicate(place, x):
    return lax.with_sharding_constraint(x, NamedSharding(place.mesh, P()))


_gather.defvjp(_forward, _backward)
