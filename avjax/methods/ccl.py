"""CCL: compositional contrastive learning, a student of video with frozen teachers.

Chen, Xian, Koepke, Shan and Akata, CVPR 2021, https://arxiv.org/abs/2104.10955,
https://github.com/yanbeic/CCL.  A teacher of audio, of pictures, or both; each is composed with the
student, and student, teacher and composition are aligned by class.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses.class_nce import symmetric_nce
from avjax.losses.classification import accuracy, cross_entropy
from avjax.losses.divergence import symmetric_kl
from avjax.nets import teachers as teachers_
from avjax.nets.forward import forward, init_model
from avjax.nets.joint.composition import Composition
from avjax.nets.layers.mlp import Linear
from avjax.types import Method


def make(
    model: Any,
    teachers: Mapping[str, teachers_.Teacher],
    num_classes: int,
    temperatures: Mapping[str, float],
    teacher_share: float = 0.5,
    scale: float = 2.0,
    teacher_weight: float | None = None,
    chunks: int = 1,
) -> Method:
    """CCL; the paper's modes A, I and AI are the teachers "audio", "image" or both.

    A clip that a teacher is not valid for, such as one without audio, counts in all terms but that
    teacher's.  Clips without a label (-1) count in no term but the symmetric KL.

    Args:
      model: towers of the student, with one encoder; its features are as wide as the teachers'.
      teachers: {name: `avjax.nets.teachers.Teacher`}.
      num_classes: number of classes, more than the highest label.
      temperatures: of each teacher's NCE; the paper has 0.5 for audio and 0.1 for images.
      teacher_share: lambda of the paper: weight of the NCE with the teacher, against that between
        student and composition.
      scale: factor of the NCE.
      teacher_weight: weight of each teacher's terms in the student's loss; None for 1 divided by
        the number of teachers.
      chunks: parts of a batch that the encoder processes in turn.

    Returns:
      A Method that logs "accuracy", "loss/cross_entropy" and, by teacher, "loss/nce/NAME",
      "loss/symmetric_kl/NAME" and "loss/composition/NAME", and whose `embed` also gives "logits".

    Raises:
      ValueError: an argument is out of its range; from `init`, widths differ.
    """
    if not teachers or teachers.keys() != temperatures.keys():
        raise ValueError(
            f"teachers {sorted(teachers)} with temperatures of {sorted(temperatures)}: give at "
            "least one teacher, and a temperature for each"
        )
    for name, temperature in temperatures.items():
        ranges.check_number(f"temperatures.{name}", temperature, above=0)
    if len(model.encoders) != 1:
        raise ValueError(f"a student has one encoder, not {', '.join(sorted(model.encoders))}")
    ranges.check_integer("num_classes", num_classes, 2)
    ranges.check_number("teacher_share", teacher_share, minimum=0, maximum=1)
    ranges.check_number("scale", scale, minimum=0)
    weight = 1 / len(teachers) if teacher_weight is None else teacher_weight
    ranges.check_number("teacher_weight", weight, minimum=0)
    ranges.check_integer("chunks", chunks)
    (modality,) = model.encoders
    # Their `apply` gives an array or a pair.
    classifier: Any = Linear(num_classes)
    composition: Any = Composition(num_classes)

    def init(rng, batch, size):
        rngs = jax.random.split(rng, 3 + len(teachers))
        params, stats, out = init_model(model, rngs[0], batch)
        features = out[modality]["features"]
        state, taught = teachers_.init_all(teachers, rngs[1], batch)
        heads = {}
        for key, (name, t) in zip(rngs[3:], taught.items()):
            if t["features"].shape[1] != features.shape[1]:
                raise ValueError(
                    f"the teacher {name!r} has {t['features'].shape[1]} features, the student "
                    f"{features.shape[1]}: CCL compares them, so use nets of the same width"
                )
            heads[name] = composition.init(key, t["features"], features, False)["params"]
        learned = classifier.init(rngs[2], features, False)["params"]
        params = params | {"classifier": learned, "compositions": heads}
        return params, {"stats": stats, "teachers": state}

    def classified(params, out):
        features = out[modality]["features"]
        logits = classifier.apply({"params": params["classifier"]}, features, False)
        return {"features": features, "logits": logits}

    def composed(params, name, teacher, student):
        inputs = teacher["features"], student["features"], False
        return composition.apply({"params": params["compositions"][name]}, *inputs)

    def alignment(name, first, others, label, valid):
        """NCE of `first` with (the teacher, the other of student and composition)."""
        parts = [symmetric_nce(first, x, label, temperatures[name], valid) for x in others]
        return scale * (teacher_share * parts[0] + (1 - teacher_share) * parts[1])

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        student, label = classified(params, out), batch["label"]
        # The composition does not move the student by its own loss, as in the reference.
        fixed = jax.lax.stop_gradient(student)
        metrics = {"loss/cross_entropy": cross_entropy(student["logits"], label)}
        total = metrics["loss/cross_entropy"]
        for name, t in teachers_.apply_all(teachers, state["teachers"], batch, rng).items():
            f, valid = t["features"], t["valid"]
            both, own = composed(params, name, t, student), composed(params, name, t, fixed)
            of_student = (f, both["features"]), label, valid
            nce = alignment(name, student["features"], *of_student)
            kl = symmetric_kl(student["logits"], both["logits"], valid)
            of_composition = (f, fixed["features"]), label, valid
            each = cross_entropy(own["logits"], jnp.where(valid, label, -1))
            each += alignment(name, own["features"], *of_composition)
            each += symmetric_kl(fixed["logits"], own["logits"], valid)
            total += weight * (nce + kl) + each
            metrics |= {
                f"loss/nce/{name}": nce,
                f"loss/symmetric_kl/{name}": kl,
                f"loss/composition/{name}": each,
            }
        metrics["accuracy"] = accuracy(student["logits"], label)
        return total, ({"stats": stats, "teachers": state["teachers"]}, metrics)

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], batch, train=False)[0]
        return out | ({"logits": classified(params, out)["logits"]} if modality in out else {})

    nets = tuple(f"{part}_{modality}" for part in ("frontends", "encoders"))
    return Method(
        init,
        loss,
        embed,
        needs_audio=modality == "audio",
        inherits=teachers_.inherited(teachers),
        inherited_nets=nets,
    )
