"""XDC: cross-modal deep clustering, and its baselines SDC, MDC and CDC.

Alwassel et al., NeurIPS 2020, https://arxiv.org/abs/1911.12667.  Clips are clustered by video and
by audio features, each encoder learns the clusters of the other, and clips are clustered again.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from avjax.config import ranges
from avjax.nets.forward import forward, init_model, make_embed
from avjax.nets.layers.mlp import Linear
from avjax.ops import kmeans
from avjax.ops.normalize import l2_normalize
from avjax.types import Array, Method, Metrics, Tree

MODALITIES = ("video", "audio")


def make(
    model: Any,
    targets: dict[str, tuple[str, ...]],
    clusters: int,
    balance: float,
    chunks: int = 1,
) -> Method:
    """XDC; each refresh clusters again, so `config.refresh_every` steps are one iteration.

    Args:
      model: towers.
      targets: whose clusters each modality learns, with a classifier for each:

            XDC  {"video": ("audio",), "audio": ("video",)}
            SDC  {"video": ("video",), "audio": ("audio",)}
            MDC  {"video": ("video", "audio"), "audio": ("video", "audio")}
            CDC  {"video": ("video+audio",), "audio": ("video+audio",)}, of concatenated features

        With {"video": ("video",)} alone, clips without audio are clustered and trained on too.
      clusters: number of clusters.
      balance: a clip's loss is weighted by the size of its cluster to the power of -balance: with 0
        all clips count equally, with 1 all clusters.
      chunks: parts of a batch that the encoders process in turn.

    Returns:
      A Method whose `refresh` clusters, and that logs "loss/...", "accuracy/...", and the
      `cluster_metrics` of the last refresh.

    Raises:
      ValueError: an argument is out of its range, or targets are empty or of unknown modalities.
    """
    spaces = sorted({space for learned in targets.values() for space in learned})
    needed = {*targets, *(m for s in spaces for m in s.split("+"))}
    if odd := needed - {*MODALITIES}:
        raise ValueError(f"targets have {sorted(odd)}: use {MODALITIES}, joined by +")
    if not spaces:
        raise ValueError("targets are empty: name the clusters that each modality learns")
    ranges.check_integer("clusters", clusters, 2)
    ranges.check_number("balance", balance, minimum=0)
    ranges.check_integer("chunks", chunks)
    classifier: Any = Linear(clusters)  # Its `apply` gives an array or a pair.

    def init(rng, batch, size):
        rng_model, rng_heads = jax.random.split(rng)
        params, stats, out = init_model(model, rng_model, batch)
        widths = {m: o["features"].shape[1] for m, o in out.items()}
        labels = {s: jnp.full(size, -1, jnp.int32) for s in spaces}
        sizes = {s: jnp.zeros(clusters, jnp.int32) for s in spaces}
        nothing = dict.fromkeys(spaces, jnp.zeros(()))
        metrics = cluster_metrics(labels, labels, sizes, nothing)
        state = {"labels": labels, "sizes": sizes, "quality": metrics, "stats": stats}
        heads = init_classifiers(classifier, targets, rng_heads, widths)
        return params | {"classifiers": heads}, state

    def extract(params, state, batch):
        out = forward(model, params, state["stats"], batch, train=False)[0]
        features = {m: out[m]["features"] for m in sorted(needed)}
        return features | {"has_audio": batch["has_audio"].astype(jnp.float32)}

    def refresh(params, state, rng, extracted):
        rng_heads, *rngs = jax.random.split(rng, 1 + len(spaces))
        before, labels, sizes, inertia = state["labels"], {}, {}, {}
        for s, r in zip(spaces, rngs):
            # Paper: does not say how features are preprocessed.  At unit length, loud and quiet
            # clips are near each other, and concatenated modalities have equal weight.
            rows = jnp.concatenate([l2_normalize(extracted[m]) for m in s.split("+")], 1)
            # Missing audio is not a cluster.
            mask = extracted["mask"] & (
                (extracted["has_audio"] > 0) | ("audio" not in s.split("+"))
            )
            found = kmeans.fit(r, rows, mask, clusters)
            labels[s], inertia[s] = found.labels[: len(before[s])], found.inertia
            sizes[s] = jnp.zeros(clusters, jnp.int32).at[labels[s]].add(labels[s] >= 0)
        metrics = cluster_metrics(labels, before, sizes, inertia)
        # Paper: does not say what happens to the classifiers' moments in the optimizer.  Here they
        # stay; a momentum of 0.9 has forgotten the old ones after some fifty steps.
        widths = {m: extracted[m].shape[1] for m in targets}
        heads = init_classifiers(classifier, targets, rng_heads, widths)
        state = state | {"labels": labels, "sizes": sizes, "quality": metrics}
        return params | {"classifiers": heads}, state

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        metrics, total = {}, 0.0
        for m, s in ((m, s) for m, learned in targets.items() for s in learned):
            variables = {"params": params["classifiers"][m][s]}
            logits = classifier.apply(variables, out[m]["features"], True)
            label = state["labels"][s][batch["index"]]
            counts = (label >= 0) & (batch["has_audio"] | (m != "audio"))
            label = jnp.maximum(label, 0)
            # Paper: not given.  DeepCluster samples clusters evenly; weights keep the order.
            size = jnp.maximum(state["sizes"][s], 1)[label]
            weight = jnp.where(counts, size.astype(jnp.float32) ** -balance, 0)
            each = optax.softmax_cross_entropy_with_integer_labels(logits, label)
            metrics[f"loss/{m}/{s}"] = _mean(each, weight)
            metrics[f"accuracy/{m}/{s}"] = _mean(logits.argmax(1) == label, counts)
            total += metrics[f"loss/{m}/{s}"]
        return jnp.asarray(total), (state | {"stats": stats}, metrics | state["quality"])

    return Method(init, loss, make_embed(model), refresh, extract, needs_audio="audio" in needed)


def init_classifiers(
    classifier: Linear, targets: dict[str, tuple[str, ...]], rng: Array, widths: dict[str, int]
) -> dict[str, dict[str, Tree]]:
    """Initializes a classifier for each target of each modality.

    Args:
      classifier: the module.
      targets: as in `make`.
      rng: a key.
      widths: number of features of each modality.

    Returns:
      {modality: {target: parameters}}.
    """
    rngs = iter(jax.random.split(rng, sum(map(len, targets.values()))))
    return {
        m: {s: classifier.init(next(rngs), jnp.zeros((1, widths[m])), False)["params"]
            for s in learned}
        for m, learned in targets.items()
    }  # fmt: skip


def cluster_metrics(
    labels: dict[str, Array],
    before: dict[str, Array],
    sizes: dict[str, Array],
    inertia: dict[str, Array],
) -> Metrics:
    """Evenness of each clustering, and its similarity to the previous one and to the others.

    Args:
      labels: {name of the features: int [N]}, cluster of each record, -1 for none.
      before: the same of the previous clustering.
      sizes: {name: int [clusters]}, records per cluster.
      inertia: {name: scalar}, as of `kmeans.Clusters`.

    Returns:
      {name: scalar}; "nmi/..." is the normalized mutual information.
    """
    metrics, similarity = {}, kmeans.normalized_mutual_info
    for s in labels:
        metrics[f"clusters/{s}/inertia"] = inertia[s]
        metrics[f"clusters/{s}/empty"] = (sizes[s] == 0).mean()
        metrics[f"clusters/{s}/largest"] = sizes[s].max() / jnp.maximum(sizes[s].sum(), 1)
        metrics[f"nmi/{s}/previous"] = similarity(labels[s], before[s], len(sizes[s]))
    for a, b in itertools.combinations(labels, 2):
        metrics[f"nmi/{a}/{b}"] = similarity(labels[a], labels[b], len(sizes[a]))
    return metrics


def _mean(x, weight):
    """Weighted mean of x [B]; 0 if all weights are 0."""
    return (weight * x).sum() / jnp.maximum(weight.sum(), jnp.finfo(jnp.float32).tiny)
