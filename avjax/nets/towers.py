"""A front end, an encoder and a head for each modality."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp

from avjax.ops.normalize import l2_normalize


def unit(z):
    """z [B, D], each at length 1."""
    return l2_normalize(z)


def raw(z):
    """z [B, D] as the head made it, for losses that mind its length."""
    return z


class Towers(nn.Module):
    """{modality: {"features" [B, H], "embedding" [B, D]}}, in float32 at least.

    Each part is called as `(x, train=...)`.  A modality that the batch lacks is left out.
    `finish` is what is done to an embedding: `unit` makes it one of length 1.
    """

    fronts: Mapping[str, nn.Module]
    encoders: Mapping[str, nn.Module]
    heads: Mapping[str, nn.Module]
    finish: Callable = unit

    def __call__(self, batch, train: bool):
        out = {}
        for name in self.encoders:
            if name in batch:
                x = self.fronts[name](batch[name], train=train)
                features = _wide(self.encoders[name](x, train=train))
                z = self.finish(_wide(self.heads[name](features, train=train)))
                out[name] = {"features": features, "embedding": z}
        return out


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
