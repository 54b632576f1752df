"""Distillation: a student learns labels and, by one of several losses, from frozen teachers.

The methods that CCL compares itself with, Chen et al., CVPR 2021,
https://arxiv.org/abs/2104.10955: `avjax.losses.distillation` has them.
"""

from collections.abc import Mapping
from typing import Any

import jax

from avjax.config import ranges
from avjax.losses.classification import accuracy, cross_entropy
from avjax.losses.distillation import Distillation
from avjax.nets import teachers as teachers_
from avjax.nets.forward import forward, init_model
from avjax.nets.layers.mlp import Linear
from avjax.types import Inherited, Method


def make(
    model: Any,
    teachers: Mapping[str, teachers_.Teacher],
    num_classes: int,
    loss_fn: Distillation,
    chunks: int = 1,
) -> Method:
    """Cross-entropy of a student, and the mean over its teachers of a distillation loss.

    A clip that a teacher is not valid for, such as one without audio, does not count in that
    teacher's loss; clips without a label (-1) do not count in the cross-entropy.

    Args:
      model: towers of the student, with one encoder.
      teachers: {name: `avjax.nets.teachers.Teacher`}, one or several.
      num_classes: number of classes, more than the highest label.
      loss_fn: of `avjax.losses.distillation`.
      chunks: parts of a batch that the encoder processes in turn.

    Returns:
      A Method that logs "accuracy", "loss/cross_entropy" and "loss/distillation/NAME" of each
      teacher, and whose `embed` also gives "logits" [B, num_classes].

    Raises:
      ValueError: an argument is out of its range.
    """
    if not teachers:
        raise ValueError("teachers={}: give at least one, e.g. of avjax.nets.teachers")
    if len(model.encoders) != 1:
        raise ValueError(f"a student has one encoder, not {', '.join(sorted(model.encoders))}")
    ranges.check_integer("num_classes", num_classes, 2)
    ranges.check_number("loss_fn.weight", loss_fn.weight, minimum=0)
    ranges.check_number("loss_fn.label_weight", loss_fn.label_weight, minimum=0)
    ranges.check_integer("chunks", chunks)
    (modality,) = model.encoders
    classifier: Any = Linear(num_classes)  # Its `apply` gives an array or a pair.

    def init(rng, batch, size):
        rngs = jax.random.split(rng, 3 + len(teachers))
        params, stats, out = init_model(model, rngs[0], batch)
        params["classifier"] = classifier.init(rngs[2], out[modality]["features"], False)["params"]
        student = classified(params, out)
        state, taught = teachers_.init_all(teachers, rngs[1], batch)
        own = {
            name: loss_fn.init(key, student, t, size)
            for key, (name, t) in zip(rngs[3:], taught.items())
        }
        params["distillation"] = {name: learned for name, (learned, _) in own.items()}
        memories = {name: memory for name, (_, memory) in own.items()}
        return params, {"stats": stats, "teachers": state, "distillation": memories}

    def classified(params, out):
        features = out[modality]["features"]
        logits = classifier.apply({"params": params["classifier"]}, features, False)
        return {"features": features, "logits": logits}

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        student, rngs = classified(params, out), jax.random.split(rng, 1 + len(teachers))
        taught = teachers_.apply_all(teachers, state["teachers"], batch, rngs[0])
        metrics = {"loss/cross_entropy": cross_entropy(student["logits"], batch["label"])}
        total, memories = loss_fn.label_weight * metrics["loss/cross_entropy"], {}
        for key, (name, t) in zip(rngs[1:], taught.items()):
            own = params["distillation"][name], state["distillation"][name]
            each, memories[name] = loss_fn.loss(*own, student, t, batch, key)
            total += loss_fn.weight * each / len(teachers)
            metrics[f"loss/distillation/{name}"] = each
        metrics["accuracy"] = accuracy(student["logits"], batch["label"])
        return total, (state | {"stats": stats, "distillation": memories}, metrics)

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], batch, train=False)[0]
        return out | ({"logits": classified(params, out)["logits"]} if modality in out else {})

    inherits = {f"state/distillation/{name}": Inherited(records=True) for name in teachers}
    nets = tuple(f"{part}_{modality}" for part in ("frontends", "encoders"))
    return Method(
        init,
        loss,
        embed,
        needs_audio=modality == "audio",
        inherits=teachers_.inherited(teachers) | inherits,
        inherited_nets=nets,
    )
