"""Contrastive losses of two batches of embeddings in one call.

For the parts that a config combines, see `avjax.losses.contrastive` and `avjax.losses.negatives`.
"""

import jax
import jax.numpy as jnp

from avjax.losses import contrastive, negatives as sources
from avjax.ops.normalize import l2_normalize
from avjax.types import Array, ContrastiveLoss, Negatives


def info_nce(
    video: Array,
    audio: Array,
    temperature: float | Array = 0.07,
    negatives: Negatives | None = None,
) -> Array:
    """InfoNCE in both directions: each clip among all sounds, each sound among all clips.

    van den Oord et al., 2018, https://arxiv.org/abs/1807.03748.

    Example:
      >>> import jax
      >>> from avjax import losses
      >>> video, audio = jax.random.normal(jax.random.key(0), (2, 8, 128))
      >>> losses.info_nce(video, audio, temperature=0.07).shape
      ()

    Args:
      video: embeddings [B, D] of any length: they are scaled to unit length.
      audio: embeddings [B, D]; row i is of the same clip as row i of `video`.
      temperature: what the cosines are divided by.
      negatives: a source without a memory: `negatives.in_batch()`, which None is; for a large B
        `negatives.tiled()` (one device) or `negatives.ring()` (sharded), which are equally exact.

    Returns:
      The mean over the 2 B queries, a scalar.

    Raises:
      ValueError: shapes differ, B is 1, or the negatives are of a memory.
    """
    return _symmetric(contrastive.info_nce(), video, audio, temperature, negatives)


def dcl(
    video: Array,
    audio: Array,
    temperature: float | Array = 0.07,
    negatives: Negatives | None = None,
) -> Array:
    """Decoupled contrastive loss: `info_nce` without the positive in the denominator.

    Yeh et al., ECCV 2022, https://arxiv.org/abs/2110.06848.  Args, Returns and Raises are those of
    `info_nce`.
    """
    return _symmetric(contrastive.dcl(), video, audio, temperature, negatives)


def siglip(
    video: Array,
    audio: Array,
    temperature: float | Array = 0.1,
    bias: float | Array = -10.0,
    negatives: Negatives | None = None,
) -> Array:
    """Sigmoid loss: a logistic regression for each of the B x B pairs, summed, divided by B.

    Zhai et al., ICCV 2023, https://arxiv.org/abs/2303.15343.

    Args:
      video, audio, negatives: those of `info_nce`.
      temperature, bias: scores are cosines / temperature + bias; the paper learns both, from these
        values.

    Returns:
      A scalar.
    """
    loss = contrastive.logistic(0.0)._replace(bias=bias)
    return _symmetric(loss, video, audio, temperature, negatives)


def _symmetric(loss: ContrastiveLoss, video, audio, temperature, negatives) -> Array:
    """The mean loss of both directions."""
    if video.ndim != 2 or video.shape != audio.shape:
        raise ValueError(
            f"embeddings of shapes {video.shape} and {audio.shape}: use [B, D] for both"
        )
    negatives = negatives or sources.in_batch()
    if negatives.symmetric_loss is None:
        raise ValueError(
            "negatives of a memory need its state: use avjax.losses.negatives.in_batch, tiled or "
            "ring here, or the method avjax.methods.avid for a memory bank"
        )
    if negatives.num_negatives is not None:
        raise ValueError(
            f"num_negatives={negatives.num_negatives} would need a random key: use "
            f"num_negatives=None"
        )
    index = jnp.arange(len(video))
    query, key = l2_normalize(video) / temperature, l2_normalize(audio)
    sides = negatives.symmetric_loss(query, key, index, jax.random.key(0), loss)
    return jnp.asarray(sum(side.mean() for side in sides)) / 2
