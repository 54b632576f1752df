"""Classification: fine-tuning of pre-trained encoders, or supervised training from scratch.

The downstream task of Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943, and of most
other papers: a linear classifier on the features of one encoder or several, with dropout.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses.classification import accuracy, cross_entropy
from avjax.nets.forward import forward, init_model
from avjax.nets.layers.dropout import dropout as drop
from avjax.nets.layers.mlp import Linear
from avjax.types import Array, Method, Tree

# What training changes of the encoders: parameters and batch statistics, batch statistics, nothing.
ENCODERS = ("trained", "batch_stats", "frozen")


def make(
    model: Any,
    num_classes: int,
    dropout: float = 0.0,
    label_smoothing: float = 0.0,
    encoders: str = "trained",
    chunks: int = 1,
    outputs: Sequence[str] = (),
) -> Method:
    """Cross-entropy of a linear classifier on the concatenated features of all encoders.

    Clips without a label (-1) do not count.  From a run given as config.init_from without paths,
    the front ends and encoders are restored, whatever its method; the classifier is new.

    Args:
      model: towers, with the encoders whose features are classified.
      num_classes: number of classes, more than the highest label.
      dropout: probability that a feature is set to 0 in training.
      label_smoothing: weight of the uniform distribution in the targets.
      encoders: "trained"; "batch_stats": their parameters get no gradient, and batch normalization
        uses and updates the statistics of the batch; "frozen": they get no gradient and run in
        evaluation mode.
      chunks: parts of a batch that the encoders process in turn.
      outputs: of the model, whose features are classified instead of those of the encoders, e.g.
        ("fusion",) of `avjax.nets.joint.image_audio`; the parts of that name are restored too.

    Returns:
      A Method that logs "accuracy", and whose `embed` also gives "logits" [B, num_classes] of
      batches with all modalities of the model.

    Raises:
      ValueError: an argument is out of its range; from `loss`, the batch lacks a modality.
    """
    ranges.check_integer("num_classes", num_classes, 2)
    ranges.check_number("dropout", dropout, minimum=0, below=1)
    ranges.check_number("label_smoothing", label_smoothing, minimum=0, below=1)
    ranges.check_integer("chunks", chunks, 1)
    if encoders not in ENCODERS:
        raise ValueError(f"encoders={encoders!r}: use one of {', '.join(ENCODERS)}")
    inputs = sorted(model.encoders)
    names = list(outputs) or inputs
    classifier: Any = Linear(num_classes)  # Its `apply` gives an array or a pair.

    def init(rng, batch, size):
        rngs = jax.random.split(rng)
        params, stats, out = init_model(model, rngs[0], batch)
        learned = classifier.init(rngs[1], joined_features(out, names), False)["params"]
        return params | {"classifier": learned}, {"stats": stats}

    def classify(params, features):
        return classifier.apply({"params": params["classifier"]}, features, False)

    def loss(params, state, batch, rng):
        train = encoders != "frozen"
        out, stats = forward(model, params, state["stats"], batch, train=train, chunks=chunks)
        features = joined_features(out, names)
        if encoders != "trained":
            features = jax.lax.stop_gradient(features)
        logits = classify(params, drop(rng, features, dropout))
        total = cross_entropy(logits, batch["label"], label_smoothing)
        return total, ({"stats": stats}, {"accuracy": accuracy(logits, batch["label"])})

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], batch, train=False)[0]
        if out.keys() >= {*names}:
            out["logits"] = classify(params, joined_features(out, names))
        return out

    nets = tuple(f"{part}_{name}" for part in ("frontends", "encoders") for name in inputs)
    nets += tuple(name for name in names if name not in inputs)
    return Method(init, loss, embed, needs_audio="audio" in inputs, inherited_nets=nets)


def joined_features(out: Tree, names: list[str]) -> Array:
    """Features of several modalities side by side.

    Args:
      out: of towers.
      names: of the modalities.

    Returns:
      [B, H], H the sum of their widths.

    Raises:
      ValueError: a modality is missing.
    """
    if missing := [name for name in names if name not in out]:
        raise ValueError(
            f"the classifier needs {' and '.join(names)}, and the batch has no {missing[0]}: set "
            "num_frames and audio_seconds of the clip_sampler, or leave the encoder out"
        )
    return jnp.concatenate([out[name]["features"] for name in names], axis=1)
