"""How a student learns from a frozen teacher: the parts `loss` of `avjax.methods.distill`.

Weights are those of RepDistiller (https://github.com/HobbitLong/RepDistiller) unless a comment
says otherwise: those of the table of CCL (https://arxiv.org/abs/2104.10955) are not published.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import divergence, memory_nce, relational, sampling
from avjax.nets.layers.mlp import Linear
from avjax.ops.normalize import l2_normalize
from avjax.types import Array, Batch, Tree

Outputs = dict[str, Array]  # "features" [B, H]; "logits" [B, C] if there are; "valid" bool [B].


class Distillation(NamedTuple):
    """A loss between a student and one teacher.

    Attributes:
      init: (rng, student, teacher, size) -> (params, state) of learned layers and memories; two
        dicts.  `size` is the number of records.
      loss: (params, state, student, teacher, batch, rng) -> (loss, state).  The teacher's outputs
        get no gradient; rows with teacher["valid"] False do not count.
      weight: of the loss.
      label_weight: of the cross-entropy with the labels.
    """

    init: Callable[[Array, Outputs, Outputs, int], tuple[Tree, Tree]]
    loss: Callable[[Tree, Tree, Outputs, Outputs, Batch, Array], tuple[Array, Tree]]
    weight: float
    label_weight: float = 1.0


def none() -> Distillation:
    """The undistilled student: cross-entropy with the labels alone."""
    return _between("features", lambda student, teacher, valid: jnp.zeros(()), 0.0)


def kd(temperature: float = 4.0, weight: float = 0.9, label_weight: float = 0.1) -> Distillation:
    """`divergence.soft_targets`; the teacher must have logits of the same classes."""
    ranges.check_number("temperature", temperature, above=0)

    def loss(student, teacher, valid):
        return divergence.soft_targets(student, teacher, temperature, valid)

    return _between("logits", loss, weight)._replace(label_weight=label_weight)


def fitnet(weight: float = 100.0) -> Distillation:
    """Mean squared error of features, the student's through a linear layer.

    Romero et al., ICLR 2015, https://arxiv.org/abs/1412.6550.
    """
    # Paper: a convolution of a middle layer is regressed; teachers here have vectors only.

    def init(rng, student, teacher, size):
        return {"regressor": _init(rng, teacher["features"].shape[1], student)}, {}

    def loss(params, state, student, teacher, batch, rng):
        square = jnp.square(_linear(params["regressor"], student) - teacher["features"])
        return divergence.mean_of_valid(square.mean(1), teacher["valid"]), state

    return Distillation(init, loss, weight)


def pkt(weight: float = 30_000.0) -> Distillation:
    """`relational.pkt`."""
    return _between("features", relational.pkt, weight)


def cor(dim: int = 128, weight: float = 0.02) -> Distillation:
    """`relational.correlation` of linear embeddings of both sides, both learned."""
    ranges.check_integer("dim", dim)

    def loss(params, state, student, teacher, batch, rng):
        z = _embeddings(params, student, teacher)
        return relational.correlation(z["student"], z["teacher"], teacher["valid"]), state

    def init(rng, student, teacher, size):
        return _init_embeddings(rng, dim, student, teacher), {}

    return Distillation(init, loss, weight)


def rkd(distance: float = 25.0, angle: float = 50.0, weight: float = 1.0) -> Distillation:
    """`distance` times `relational.rkd_distance` plus `angle` times `relational.rkd_angle`."""

    def loss(*args):
        return distance * relational.rkd_distance(*args) + angle * relational.rkd_angle(*args)

    return _between("features", loss, weight)


def ifd(weight: float = 10_000.0) -> Distillation:
    """`relational.ifd` of the last layer."""
    # Paper: CCL does not say what its IFD is, nor its weight; both are ours.  Passalis et al. also
    # distill earlier layers, with weights that fall with the epoch, from an auxiliary teacher.
    return _between("features", relational.ifd, weight)


# Paper: 16,384 negatives, without replacement unless there are fewer records; CCL's data sets are
# smaller.  Negatives here are sampled with replacement.
def crd(
    dim: int = 128,
    num_negatives: int = 4096,
    temperature: float = 0.07,
    momentum: float = 0.5,
    weight: float = 0.8,
) -> Distillation:
    """Contrastive representation distillation: `memory_nce` with negatives of other classes.

    Tian et al., ICLR 2020, https://arxiv.org/abs/1910.10699.  The state has the class of each
    record that has been in a batch; before that its row is random and may be any query's negative.

    Args:
      dim: width of the linear embeddings of both sides, both learned.
      num_negatives: negatives per query.
      temperature: divisor of the scores.
      momentum: share of the old row in an update of a memory.
      weight: of the loss.
    """

    def sample(rng, state, batch):
        label = state["label"].at[batch["index"]].set(batch["label"])
        size = state["memory"]["student"]["size"]
        rows = sampling.sample_other_classes(rng, label, size, batch["label"], num_negatives)
        return rows, state | {"label": label}

    def unknown(memory):
        return {"label": jnp.full(len(memory["student"]["rows"]), -1, jnp.int32)}

    how = dict(num_negatives=num_negatives, temperature=temperature, momentum=momentum)
    return _against_memories(sample, unknown, dim, weight, **how)


def cmc(
    dim: int = 128,
    num_negatives: int = 4096,
    temperature: float = 0.07,
    momentum: float = 0.5,
    weight: float = 0.8,
) -> Distillation:
    """Contrastive multiview coding: `crd` with negatives of any record, the query's own included.

    Tian et al., ECCV 2020, https://arxiv.org/abs/1906.05849; arguments as of `crd`.
    """
    # Paper: the weight is not published; it is that of `crd`.

    def sample(rng, state, batch):
        size = state["memory"]["student"]["size"]
        own = batch["index"][:, None]
        return sampling.sample_uniform(rng, own, size, num_negatives), state

    how = dict(num_negatives=num_negatives, temperature=temperature, momentum=momentum)
    return _against_memories(sample, lambda memory: {}, dim, weight, **how)


def _between(name, fn, weight):
    """A Distillation without layers or state: fn(student, teacher, valid) of the outputs `name`."""

    def init(rng, student, teacher, size):
        if name == "logits" and "logits" not in teacher:
            raise ValueError("kd needs logits of the teacher: set num_classes of the teacher")
        if name == "logits" and student[name].shape != teacher[name].shape:
            raise ValueError(
                f"kd compares {student[name].shape[1]} classes of the student with "
                f"{teacher[name].shape[1]} of the teacher: use a teacher of the same classes"
            )
        return {}, {}

    def loss(params, state, student, teacher, batch, rng):
        return fn(student[name], teacher[name], teacher["valid"]), state

    return Distillation(init, loss, weight)


def _against_memories(sample, more_state, dim, weight, num_negatives, temperature, momentum):
    """A Distillation by `memory_nce`; sample: (rng, state, batch) -> (rows [B, K], state)."""
    ranges.check_integer("dim", dim)
    ranges.check_integer("num_negatives", num_negatives)
    ranges.check_number("temperature", temperature, above=0)
    ranges.check_number("momentum", momentum, minimum=0, below=1)

    def init(rng, student, teacher, size):
        rngs = jax.random.split(rng)
        state = memory_nce.init_memories(rngs[1], size, dim)
        params = _init_embeddings(rngs[0], dim, student, teacher)
        return params, state | more_state(state["memory"])

    def loss(params, state, student, teacher, batch, rng):
        z = {m: l2_normalize(x) for m, x in _embeddings(params, student, teacher).items()}
        rows, state = sample(rng, state, batch)
        return memory_nce.loss_and_update(
            state, z, batch["index"], rows, temperature, momentum, teacher["valid"]
        )

    return Distillation(init, loss, weight)


def _init_embeddings(rng, dim, student, teacher):
    sides = zip(("student", "teacher"), jax.random.split(rng), (student, teacher))
    return {side: _init(key, dim, outputs) for side, key, outputs in sides}


def _embeddings(params, student, teacher):
    sides = (("student", student), ("teacher", teacher))
    return {side: _linear(params[side], outputs) for side, outputs in sides}


def _init(rng, width, outputs):
    return Linear(width).init(rng, outputs["features"], False)["params"]


def _linear(params, outputs):
    layer: Any = Linear(params["kernel"].shape[1])  # Its `apply` gives an array or a pair.
    return layer.apply({"params": params}, outputs["features"], False)
