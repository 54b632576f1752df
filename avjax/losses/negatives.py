"""Sources of negatives.  All answer to `types.Negatives`; a config picks one."""

import functools
from typing import Callable

import jax
import jax.numpy as jnp
from jax import lax

from avjax.config import ranges
from avjax.losses import pairs
from avjax.ops import blockwise
from avjax.ops.normalize import l2_normalize
from avjax.types import Contrast, Negatives


def in_batch(draws: int | None = None) -> Negatives:
    """The other examples of the global batch, all scores at once; gradients reach the keys.

    Written for one device.  Under `jit` on a mesh the compiler gathers the keys, and
    their gradients come back with the right scale.
    draws: exactly so many of the others, each as likely; None for all.
    """
    _check(draws)

    def pair(query, key, index, rng, contrast: Contrast):
        slots = jnp.arange(len(query))
        first = blockwise.offset(rng, len(query), draws)
        mask = blockwise.others(index, index, (slots, slots), len(query), draws, first)
        positive = blockwise.scores(query, key, contrast.bias)
        scores = blockwise.product(query, key.T) + contrast.bias
        sides = (scores, mask), (scores.T, mask.T)
        return tuple(contrast.finish(positive, contrast.fold(*s, positive)) for s in sides)

    return _of_the_batch(pair, draws)


def tiled(draws: int | None = None, tile: int = 1024) -> Negatives:
    """`in_batch` on one device, in memory that grows with B, not with B x B; exact.

    On several devices `ring` is the same and shares the work.
    """
    _check(draws, tile)
    return _by_tiles(draws=draws, tile=tile)


def ring(draws: int | None = None, tile: int = 1024, axis: str = "data") -> Negatives:
    """`tiled`, and split over the devices: keys, not scores, travel from each to the next."""
    _check(draws, tile)
    return _by_tiles(draws=draws, tile=tile, axis=axis)


def _by_tiles(**how) -> Negatives:
    def pair(query, key, index, rng, contrast: Contrast):
        positive = blockwise.scores(query, key, contrast.bias)
        totals = blockwise.totals(query, key, index, rng, contrast, **how)
        return tuple(contrast.finish(positive, total) for total in totals)

    return _of_the_batch(pair, how["draws"])


def _check(draws, tile=1):
    if draws is not None:
        ranges.whole("draws", draws, 1)
    ranges.whole("tile", tile, 1)


def _of_the_batch(pair, draws) -> Negatives:
    """Negatives without a memory."""

    def both(query, key, index, rng, contrast):
        pairs.check_others(len(query))
        return pair(query, key, index, rng, contrast)

    def reduce(memory, query, key, index, rng, contrast):
        return both(query, key, index, rng, contrast)[0]

    keep = lambda memory, key, index: memory
    return Negatives(lambda rng, size, dim: (), reduce, keep, both, draws)


def bank(draws: int, momentum: float = 0.5, draw: Callable | None = None) -> Negatives:
    """A memory of every example, `draws` rows of it sampled a query; positives too.

    The memory is read before it is updated, and gradients reach the query alone.
    draw: (rng, index [B, 1], size, draws) -> rows [B, draws]: `draw_outside`, which is AVID's
    (https://arxiv.org/abs/2004.12943) and what None is, or `draw_any`, which is that of
    Wu et al., CVPR 2018, https://arxiv.org/abs/1805.01978.
    """
    draw = draw or draw_outside
    _check(draws)
    ranges.number("momentum", momentum, least=0, below=1)

    def reduce(memory, query, key, index, rng, contrast: Contrast):
        del key  # The keys are memories.
        rows = draw(rng, index[:, None], memory["size"], draws)
        return against(memory["rows"], query, index, rows, contrast)

    return Negatives(_remember, reduce, functools.partial(_move, momentum), draws=draws)


def shared(draws: int, momentum: float = 0.5) -> Negatives:
    """`bank`, but all queries of a batch get the same rows, no row twice: one matmul.

    Of draws + 1 rows each query leaves its own out, or the last where its own was not drawn.
    """
    _check(draws)
    ranges.number("momentum", momentum, least=0, below=1)

    def reduce(memory, query, key, index, rng, contrast: Contrast):
        del key
        drawn = draw_apart(rng, memory["size"], draws + 1)
        own = drawn[None] == index[:, None]
        last = jnp.arange(draws + 1)[None] == draws
        mask = ~jnp.where(own.any(1, keepdims=True), own, last)
        rows = memory["rows"]
        positive = blockwise.scores(query, rows[index], contrast.bias)
        scores = blockwise.product(query, rows[drawn].T) + contrast.bias
        return contrast.finish(positive, contrast.fold(scores, mask, positive))

    def init(rng, size, dim):
        if draws >= size:
            raise ValueError(f"draws={draws} of {size} examples: draw at most {size - 1}")
        return _remember(rng, size, dim)

    return Negatives(init, reduce, functools.partial(_move, momentum), draws=draws)


def queue(length: int, draws: int | None = None) -> Negatives:
    """The `length` newest keys of earlier batches, first in, first out; gradients skip keys.

    He et al., CVPR 2020, https://arxiv.org/abs/1911.05722.  draws: only so many of them, each
    as likely, the same for all queries of a batch.
    """
    ranges.whole("length", length, 1)
    if draws is not None and not 0 < draws <= length:
        raise ValueError(f"draws={draws} of a queue of {length}: draw at least 1, at most all")

    def init(rng, size, dim):
        keys = l2_normalize(jax.random.normal(rng, (length, dim)))
        return {"keys": keys, "head": jnp.zeros((), jnp.int32)}

    def reduce(memory, query, key, index, rng, contrast: Contrast):
        positive = blockwise.scores(query, lax.stop_gradient(key), contrast.bias)
        keys = memory["keys"]
        if draws is not None:
            keys = keys[(jax.random.randint(rng, (), 0, length) + jnp.arange(draws)) % length]
        scores = blockwise.product(query, keys.T) + contrast.bias
        total = contrast.fold(scores, jnp.ones_like(scores, bool), positive)
        return contrast.finish(positive, total)

    def update(memory, key, index):
        if len(key) > length:
            raise ValueError(f"a queue of {length} is shorter than the batch of {len(key)}")
        places = (memory["head"] + jnp.arange(len(key))) % length
        keys = memory["keys"].at[places].set(lax.stop_gradient(key), unique_indices=True)
        return {"keys": keys, "head": (memory["head"] + len(key)) % length}

    return Negatives(init, reduce, update, draws=draws or length)


def against(memory, query, index, rows, contrast: Contrast):
    """Loss [B] of query [B, D] with row `index` [B] of a memory as key and `rows` [B, K] not.

    With several positives, `contrastive.multi_positive`, index is [B, P].
    """
    positive, scores = (
        blockwise.product(query, memory[x], "bd,b...d->b...") + contrast.bias for x in (index, rows)
    )
    return contrast.finish(positive, contrast.fold(scores, jnp.ones_like(rows, bool), positive))


def draw_outside(rng, sets, size, draws: int):
    """[B, draws] rows of `range(size)`, even, none of them in `sets` [B, P], sorted rows."""
    gaps = sets - jnp.arange(sets.shape[1])[None]
    rows = jax.random.randint(rng, (sets.shape[0], draws), 0, size - sets.shape[1])
    return skip(gaps, rows)


def draw_any(rng, sets, size, draws: int):
    """[B, draws] rows of `range(size)`, even; one of `sets` [B, P] may be among them."""
    return jax.random.randint(rng, (sets.shape[0], draws), 0, size)


def skip(gaps, rows):
    """Maps draws from a range with holes closed up onto the range with its holes."""
    return rows + jax.vmap(lambda g, r: jnp.searchsorted(g, r, side="right"))(gaps, rows)


def draw_apart(rng, size, draws: int):
    """[draws] different rows of `range(size)`, each as likely: one of every so many, turned."""
    turn, within = jax.random.split(rng)
    each, rest = size // draws, size % draws
    edges = jnp.arange(draws + 1) * each + jnp.minimum(jnp.arange(draws + 1), rest)
    rows = jax.random.randint(within, (draws,), edges[:-1], edges[1:])
    return (rows + jax.random.randint(turn, (), 0, size)) % size


# Rows of a memory: a multiple of this, so that 2, 4, ... 1024 devices can share them.
SHARES = 1024


def _remember(rng, size, dim):
    if size < 2:
        raise ValueError(f"a memory bank wants 2 examples or more, not {size}")
    rows = jax.random.normal(rng, (-(-size // SHARES) * SHARES, dim))
    return {"rows": l2_normalize(rows), "size": jnp.full((), size, jnp.int32)}


def _move(momentum, memory, key, index):
    """A row that a batch holds twice takes its last example, on every device alike."""
    later = jnp.triu(index[:, None] == index[None], k=1).any(axis=1)
    rows = memory["rows"]
    moved = l2_normalize(momentum * rows[index] + (1 - momentum) * lax.stop_gradient(key))
    places = jnp.where(later, len(rows), index)
    return memory | {"rows": rows.at[places].set(moved, mode="drop")}
