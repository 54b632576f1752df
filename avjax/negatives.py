"""Sources of negatives.  All answer to `types.Negatives`; a config picks one."""

import jax
import jax.numpy as jnp

from avjax.types import Contrast, Negatives


def in_batch() -> Negatives:
    """The other examples of the global batch; gradients reach the keys.

    Written for one device.  Under `jit` on a mesh the compiler gathers the keys,
    and their gradients come back with the right scale.
    """

    def init(rng, size, dim):
        return ()

    def reduce(memory, query, key, index, rng, contrast: Contrast):
        others = ~jnp.eye(query.shape[0], dtype=bool)
        positive = jnp.sum(query * key, axis=1)
        return contrast.finish(positive, contrast.fold(query @ key.T, others))

    def update(memory, key, index):
        return memory

    return Negatives(init, reduce, update)


def bank(draws: int, momentum: float = 0.5) -> Negatives:
    """A memory [N, D] of every example, `draws` rows of it sampled a query; positives too.

    The memory is read before it is updated, and gradients reach the query alone.
    Wu et al., CVPR 2018, https://arxiv.org/abs/1805.01978; AVID,
    https://arxiv.org/abs/2004.12943.
    """

    def init(rng, size, dim):
        if size < 2:
            raise ValueError(f"a memory bank wants 2 examples or more, not {size}")
        return _unit(jax.random.normal(rng, (size, dim)))

    def reduce(memory, query, key, index, rng, contrast: Contrast):
        del key  # The keys are memories.
        rows = draw_outside(rng, index[:, None], memory.shape[0], draws)
        return against(memory, query, index, rows, contrast)

    def update(memory, key, index):
        # A row that a batch holds twice takes its last example, on every device alike.
        later = jnp.triu(index[:, None] == index[None], k=1).any(axis=1)
        moved = _unit(momentum * memory[index] + (1 - momentum) * jax.lax.stop_gradient(key))
        rows = jnp.where(later, memory.shape[0], index)
        return memory.at[rows].set(moved, mode="drop")

    return Negatives(init, reduce, update)


def against(memory, query, index, rows, contrast: Contrast):
    """Loss [B] of query [B, D] with row `index` [B] of a memory as key and `rows` [B, K] not."""
    positive = jnp.sum(query * memory[index], axis=1)
    scores = jnp.einsum("bd,bkd->bk", query, memory[rows])
    return contrast.finish(positive, contrast.fold(scores, jnp.ones_like(rows, bool)))


def draw_outside(rng, sets, size: int, draws: int):
    """[B, draws] rows of `range(size)`, even, none of them in `sets` [B, P], sorted rows."""
    gaps = sets - jnp.arange(sets.shape[1])[None]
    rows = jax.random.randint(rng, (sets.shape[0], draws), 0, size - sets.shape[1])
    return skip(gaps, rows)


def skip(gaps, rows):
    """Maps draws from a range with holes closed up onto the range with its holes."""
    return rows + jax.vmap(lambda g, r: jnp.searchsorted(g, r, side="right"))(gaps, rows)


def _unit(x):
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
