"""An encoder with features of another width."""

from typing import Any

import flax.linen as nn

from avjax.nets.layers.mlp import Linear
from avjax.types import Array


class Projected(nn.Module):
    """An affine layer and ReLU on the features of an encoder: [B, ...] -> [B, width].

    CCL compares features of student and teacher, which are of one width and not negative.

    Attributes:
      encoder: (inputs, train) -> features [B, H].
      width: of the result.
    """

    encoder: Any
    width: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        return nn.relu(Linear(self.width, name="projection")(self.encoder(x, train), train))
