"""CCL's composition of a teacher and a student.

Chen et al., CVPR 2021, https://arxiv.org/abs/2104.10955.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.mlp import Linear
from avjax.ops.normalize import l2_normalize
from avjax.types import Array


class Composition(nn.Module):
    """The teacher's features plus a learned residual, with a classifier of its own.

    (teacher [B, D], student [B, H]) -> {"features" [B, D], "logits" [B, C]}.  The residual is one
    affine layer of both, side by side; the classifier another one.

    Attributes:
      num_classes: C.
      normalize: applied to the inputs of the residual; the teacher's features are added as they
        are.
    """

    num_classes: int
    normalize: Callable = l2_normalize

    @nn.compact
    def __call__(self, teacher: Array, student: Array, train: bool) -> dict[str, Array]:
        pair = jnp.concatenate([self.normalize(teacher), self.normalize(student)], axis=1)
        x = teacher + Linear(teacher.shape[1], name="residual")(pair, train)
        return {"features": x, "logits": Linear(self.num_classes, name="classifier")(x, train)}
