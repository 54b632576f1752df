"""A front end, an encoder and a head per modality."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp

from avjax.ops.normalize import l2_normalize
from avjax.types import Array


def identity(z: Array) -> Array:
    """Returns z [B, D] unchanged, for losses that use its length."""
    return z


class Towers(nn.Module):
    """{modality: {"features" [B, H], "embedding" [B, D]}}, in float32 at least.

    Each part is called as `(x, train=...)`.  Modalities that the batch lacks are skipped.

    Attributes:
      frontends, encoders, heads: {modality: module}.
      normalize: applied to embeddings; `l2_normalize` scales them to unit length.
    """

    frontends: Mapping[str, nn.Module]
    encoders: Mapping[str, nn.Module]
    heads: Mapping[str, nn.Module]
    normalize: Callable = l2_normalize

    def __call__(self, batch, train: bool):
        out = {}
        for name in self.encoders:
            if name in batch:
                x = self.frontends[name](batch[name], train=train)
                features = _wide(self.encoders[name](x, train=train))
                z = self.normalize(_wide(self.heads[name](features, train=train)))
                out[name] = {"features": features, "embedding": z}
        return out


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
