"""Distillation of relations: the teacher's similarities of the clips of a batch.

Student and teacher may have features of different widths.  All take `valid` bool [B], False for
rows that do not count, and give 0 if no row counts.
"""

import jax
import jax.numpy as jnp
import optax

from avjax.ops.normalize import l2_normalize
from avjax.ops.pairwise import map_rows, squared_distances
from avjax.ops.scores import precise_einsum
from avjax.types import Array


def pkt(student: Array, teacher: Array, valid: Array | None = None) -> Array:
    """Probabilistic knowledge transfer: KL(teacher || student) of similarities.

    The cosines of a clip with all clips, moved to 0 ... 1, are made a distribution.  Passalis and
    Tefas, ECCV 2018, https://arxiv.org/abs/1803.10837.

    Args:
      student, teacher: features, float [B, D] and [B, E].
      valid: bool [B]; None if all count.

    Returns:
      The mean over all pairs, a scalar; of the order of 1e-3.
    """
    eps, valid = 1e-7, _all_if_none(valid, student)
    s, t = (_distribution(_cosines(x, eps), valid) for x in (student, teacher))
    return _mean_of_pairs(t * jnp.log((t + eps) / (s + eps)), valid)


def ifd(student: Array, teacher: Array, valid: Array | None = None) -> Array:
    """Information flow distillation: two kernels, and a divergence in both directions.

    That of `pkt` and 1 / (1 + distance), each as a distribution over the batch.  Passalis, Tzelepi
    and Tefas, CVPR 2020, https://arxiv.org/abs/2005.00727.

    Args:
      student, teacher: features, float [B, D] and [B, E].
      valid: bool [B]; None if all count.

    Returns:
      The sum over the kernels of the mean over all pairs, a scalar.
    """
    valid, total = _all_if_none(valid, student), jnp.zeros(())
    for kernel in (lambda x: _cosines(x, 1e-6), _inverse_distances):
        s, t = (_distribution(kernel(x), valid) for x in (student, teacher))
        # Paper: a kernel that is exactly 0 makes the loss infinite.
        log_s, log_t = (jnp.log(jnp.maximum(x, 1e-12)) for x in (s, t))
        total += _mean_of_pairs((t - s) * (log_t - log_s), valid)
    return total


def rkd_distance(student: Array, teacher: Array, valid: Array | None = None) -> Array:
    """Distances of relational knowledge distillation, relative to their mean.

    Park et al., CVPR 2019, https://arxiv.org/abs/1904.05068.

    Args:
      student, teacher: features, float [B, D] and [B, E].
      valid: bool [B]; None if all count.

    Returns:
      The mean of Huber's loss over all pairs, a scalar.
    """
    valid = _all_if_none(valid, student)
    s, t = (_relative_distances(x, valid) for x in (student, jax.lax.stop_gradient(teacher)))
    return _mean_of_pairs(optax.huber_loss(s, t), valid)


def rkd_angle(student: Array, teacher: Array, valid: Array | None = None) -> Array:
    """Angles of relational knowledge distillation: cosines at each corner of all triangles.

    Park et al., CVPR 2019, https://arxiv.org/abs/1904.05068.  Time O(B^3), memory O(B^2).

    Args:
      student, teacher: features, float [B, D] and [B, E].
      valid: bool [B]; None if all count.

    Returns:
      The mean of Huber's loss over all triples, a scalar.
    """
    valid, teacher = _all_if_none(valid, student), jax.lax.stop_gradient(teacher)
    pairs = valid[:, None] & valid[None]

    def at_corner(rows):
        s, t = (l2_normalize(x - row[None]) for x, row in zip((student, teacher), rows))
        losses = optax.huber_loss(precise_einsum(s, s.T), precise_einsum(t, t.T))
        return jnp.where(pairs, losses, 0).sum()

    each = map_rows(at_corner, (student, teacher))
    count = jnp.maximum(valid.sum(), 1).astype(each.dtype)
    return jnp.where(valid, each, 0).sum() / count**3


def correlation(student: Array, teacher: Array, valid: Array | None = None) -> Array:
    """Products of the differences of neighbors in a batch, as RepDistiller's "correlation".

    Tian et al., ICLR 2020, https://arxiv.org/abs/1910.10699; after Peng et al., ICCV 2019,
    https://arxiv.org/abs/1904.01802.

    Args:
      student, teacher: embeddings, float [B, D].
      valid: bool [B]; None if all count.

    Returns:
      The mean over neighbors, a scalar.
    """
    valid = _all_if_none(valid, student)
    difference, both = jnp.abs(student - teacher), valid[:-1] & valid[1:]
    products = (difference[:-1] * difference[1:]).sum(1)
    return jnp.where(both, products, 0).sum() / jnp.maximum(both.sum(), 1)


def _all_if_none(valid, x):
    return jnp.ones(len(x), bool) if valid is None else valid


def _cosines(x, eps):
    """Cosines of all pairs in 0 ... 1; a row of zeros gets no gradient."""
    square = jnp.square(x).sum(1, keepdims=True)
    zero = square == 0
    length = jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))
    unit = jnp.where(zero, jax.lax.stop_gradient(x), x) / (length + eps)
    return (precise_einsum(unit, unit.T) + 1) / 2


def _inverse_distances(x):
    return 1 / (1 + jnp.sqrt(squared_distances(x) + 1e-6))


def _relative_distances(x, valid):
    """Distances of all pairs, divided by the mean over different rows; 0 on the diagonal."""
    different = ~jnp.eye(len(x), dtype=bool)
    distance = jnp.where(different, jnp.sqrt(jnp.maximum(squared_distances(x), 1e-12)), 0)
    pairs = different & valid[:, None] & valid[None]
    mean = jnp.where(pairs, distance, 0).sum() / jnp.maximum(pairs.sum(), 1)
    return distance / jnp.where(mean > 0, mean, 1)


def _distribution(kernel, valid):
    """Rows of sum 1 over the columns that count."""
    kernel = jnp.where(valid[None], kernel, 0)
    total = kernel.sum(1, keepdims=True)
    return kernel / jnp.where(total > 0, total, 1)


def _mean_of_pairs(x, valid):
    count = jnp.maximum(valid.sum(), 1).astype(x.dtype)
    return jnp.where(valid[:, None] & valid[None], x, 0).sum() / count**2
