"""The encoder of locked towers: features that were computed before."""

import flax.linen as nn

from avjax.types import Array


class Identity(nn.Module):
    """Returns its input: vectors [B, D] are features already.

    Front end and encoder of a tower whose features are computed once, so that only its head is
    trained (locked-image tuning, Zhai et al., CVPR 2022, https://arxiv.org/abs/2111.07991).
    """

    def __call__(self, x: Array, train: bool) -> Array:
        return x
