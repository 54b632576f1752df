"""IMGAUD-SKIMMING: classifies long videos from the few clips that an LSTM selects.

Gao, Oh, Grauman and Torresani: Listen to Look, CVPR 2020, https://arxiv.org/abs/1912.04487,
https://github.com/facebookresearch/Listen-to-Look.
"""

from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses.classification import accuracy, cross_entropy
from avjax.nets.forward import forward, init_model
from avjax.nets.layers.mlp import Linear
from avjax.ops.normalize import l2_normalize
from avjax.types import Array, Method

# Of the outputs of the net: what `embed` gives beside the features.
SELECTION = ("index", "attention", "modality_weights")


def make(
    model: Any, num_classes: int, step_weight: float = 0.0, seed: int = 0, chunks: int = 1
) -> Method:
    """Cross-entropy of a linear classifier on the mean of what a skimming net reads.

    A batch has descriptors of whole videos, "image_features" and "audio_features" float [B, N, D],
    and "valid_clips" bool [B, N], as of `avjax.data.transforms.descriptors`; videos without a label
    (-1) do not count.  Where the net starts at a clip, it is random: another one in each step of
    training, always the same for a video in evaluations.

    Args:
      model: `avjax.nets.joint.skimming.Skimming`.
      num_classes: number of classes, more than the highest label.
      step_weight: weight of the cross-entropy of a second classifier, on the LSTM's last state; if
        0 there is none.
      seed: of the clips of evaluations.
      chunks: parts of a batch that the net processes in turn.

    Returns:
      A Method that logs "accuracy", "loss/cross_entropy" and, with a step_weight, "loss/last_step".
      `embed` gives "video", the features; "logits" [B, C]; "index/NAME" int [B, T], the clips that
      attention selects; "attention/NAME" [B, T, N]; "modality_weights" [B, T, M]; and with a
      step_weight "steps" [B, T, C], logits after each step.

    Raises:
      ValueError: an argument is out of its range; the batch lacks what the net reads.
    """
    ranges.check_integer("num_classes", num_classes, 2)
    ranges.check_number("step_weight", step_weight, minimum=0)
    ranges.check_integer("seed", seed, 0)
    ranges.check_integer("chunks", chunks)
    classifier: Any = Linear(num_classes)  # Its `apply` gives an array or a pair.

    def with_first(batch, rngs):
        """The batch with a random clip of each video, if the net needs one; rngs: [B] keys."""
        if model.start == "mean":
            return batch
        return batch | {"first_clip": random_clips(rngs, batch["valid_clips"])}

    def evaluated(batch):
        # Reference: its evaluations differ from run to run.
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        return with_first(batch, fold(jax.random.key(seed, impl="threefry2x32"), batch["index"]))

    def init(rng, batch, size):
        rngs = jax.random.split(rng, 3)
        params, stats, out = init_model(model, rngs[0], evaluated(batch))
        params["classifier"] = classifier.init(rngs[1], out["features"], False)["params"]
        # Reference: without its loss it has this classifier too, which stays random.
        if step_weight:
            last = out["hidden"][:, -1]
            params["step_classifier"] = classifier.init(rngs[2], last, False)["params"]
        return params, {"stats": stats}

    def classify(params, x, name="classifier"):
        return classifier.apply({"params": params[name]}, x, False)

    def loss(params, state, batch, rng):
        here = with_first(batch, jax.random.split(rng, len(batch["index"])))
        out, stats = forward(model, params, state["stats"], here, train=True, chunks=chunks)
        logits, label = classify(params, out["features"]), batch["label"]
        total = cross_entropy(logits, label)
        metrics = {"accuracy": accuracy(logits, label), "loss/cross_entropy": total}
        if step_weight:
            last = classify(params, out["hidden"][:, -1], "step_classifier")
            metrics["loss/last_step"] = cross_entropy(last, label)
            total += step_weight * metrics["loss/last_step"]
        return total, ({"stats": stats}, metrics)

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], evaluated(batch), train=False)[0]
        x = out["features"]
        found = {k: v for k, v in out.items() if k.split("/")[0] in SELECTION}
        found["logits"] = classify(params, x)
        if step_weight:
            found["steps"] = classify(params, out["hidden"], "step_classifier")
        return found | {"video": {"features": x, "embedding": l2_normalize(x)}}

    return Method(init, loss, embed, needs_audio=False)


def random_clips(rngs: Array, valid: Array) -> Array:
    """A random clip of each video, int [B].

    Args:
      rngs: keys [B].
      valid: bool [B, N].
    """
    draw = jax.vmap(lambda rng: jax.random.uniform(rng, valid.shape[1:]))
    return jnp.argmax(jnp.where(valid, draw(rngs), -1), axis=1)
