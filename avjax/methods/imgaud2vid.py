"""IMGAUD2VID: one frame and the audio of a clip learn to stand for a net of video.

Gao, Oh, Grauman and Torresani: Listen to Look, CVPR 2020, https://arxiv.org/abs/1912.04487.  Then
`avjax.methods.classify` with outputs=("fusion",) fine-tunes it on labels.
"""

from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses.divergence import mean_of_valid, soft_targets
from avjax.nets import teachers as teachers_
from avjax.nets.forward import forward, init_model
from avjax.nets.layers.mlp import Linear
from avjax.types import Method

TEACHER = "video"


def make(
    model: Any,
    teacher: teachers_.Teacher,
    descriptor_weight: float = 1.0,
    logits_weight: float = 100.0,
    temperature: float = 1.0,
    chunks: int = 1,
) -> Method:
    """L1 of the descriptors of student and teacher, and KL of their class probabilities.

    No labels are used.

    Args:
      model: `avjax.nets.joint.image_audio.ImageAudio`, as wide as the teacher.
      teacher: a frozen net of video, with logits: `avjax.nets.teachers.net(model, num_classes)`.
      descriptor_weight: of the mean absolute difference of descriptors.
      logits_weight: of the KL divergence.
      temperature: what the logits are divided by; the divergence is multiplied by its square.
      chunks: parts of a batch that the encoders process in turn.

    Returns:
      A Method that logs "loss/descriptor", "loss/logits" and "teacher_agreement", the share of
      clips whose most probable class is that of the teacher, and whose `embed` also gives "logits".

    Raises:
      ValueError: an argument is out of its range; from `init`, the teacher has no logits or
        another width.
    """
    # Paper: the weight of the KL, its temperature and the reduction of L1 are not known to us.
    ranges.check_number("descriptor_weight", descriptor_weight, minimum=0)
    ranges.check_number("logits_weight", logits_weight, minimum=0)
    if not descriptor_weight and not logits_weight:
        raise ValueError("descriptor_weight and logits_weight are 0: nothing would be learned")
    ranges.check_number("temperature", temperature, above=0)
    ranges.check_integer("chunks", chunks)
    teachers = {TEACHER: teacher}

    def init(rng, batch, size):
        rngs = jax.random.split(rng, 3)
        params, stats, out = init_model(model, rngs[0], batch)
        state, taught = teachers_.init_all(teachers, rngs[1], batch)
        check(out["fusion"]["features"], taught[TEACHER])
        classifier: Any = Linear(taught[TEACHER]["logits"].shape[1])
        learned = classifier.init(rngs[2], out["fusion"]["features"], False)["params"]
        return params | {"classifier": learned}, {"stats": stats, "teachers": state}

    def classify(params, out):
        learned = params["classifier"]
        classifier: Any = Linear(learned["kernel"].shape[1])  # An array or a pair.
        return classifier.apply({"params": learned}, out["fusion"]["features"], False)

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        logits = classify(params, out)
        t = teachers_.apply_all(teachers, state["teachers"], batch, rng)[TEACHER]
        l1 = jnp.abs(out["fusion"]["features"] - t["features"]).mean(1)
        metrics = {
            "loss/descriptor": mean_of_valid(l1, t["valid"]),
            "loss/logits": soft_targets(logits, t["logits"], temperature, t["valid"]),
            "teacher_agreement": mean_of_valid(
                (logits.argmax(1) == t["logits"].argmax(1)).astype(jnp.float32), t["valid"]
            ),
        }
        total = descriptor_weight * metrics["loss/descriptor"]
        total += logits_weight * metrics["loss/logits"]
        return total, ({"stats": stats, "teachers": state["teachers"]}, metrics)

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], batch, train=False)[0]
        return out | ({"logits": classify(params, out)} if "fusion" in out else {})

    parts = [f"{part}_{name}" for part in ("frontends", "encoders") for name in ("video", "audio")]
    return Method(
        init,
        loss,
        embed,
        inherits=teachers_.inherited(teachers),
        inherited_nets=(*parts, "fusion"),
    )


def check(student, taught) -> None:
    """Raises ValueError unless the teacher has logits and features as wide as the student's.

    Args:
      student: features [B, H].
      taught: outputs of a Teacher.
    """
    if "logits" not in taught:
        raise ValueError("IMGAUD2VID needs logits of the teacher: set num_classes of the teacher")
    if student.shape[1] != taught["features"].shape[1]:
        raise ValueError(
            f"the teacher has {taught['features'].shape[1]} features, the student "
            f"{student.shape[1]}: set config.method.model.width={taught['features'].shape[1]}"
        )
