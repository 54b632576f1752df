"""Overrides of Cross-AVID on vectors by losses against few or false negatives, for arms of a study.

Used by configs/ablate_scale.py and configs/ablate_locked.py.
"""


def sogclr(method, gamma=0.5) -> dict:
    """Returns a running sum per record in place of negatives of other batches."""
    tiled = dict(fn="avjax.losses.negatives.tiled")
    running = dict(fn="avjax.methods.sogclr", negatives=tiled, gamma=gamma)
    return {"method": running | dict(model=method["model"], temperature=temperature(method))}


def against_false_negatives(method, prior, group_size, neighbors, modality="video") -> dict:
    """Returns {name: overrides}: debiased loss, margin, labels, and batches of neighbors.

    Args:
      method: Cross-AVID on vectors.
      prior: probability that a negative is of the class of its query.
      group_size, neighbors, modality: of `avjax.data.hard_batches.stored`.
    """
    debiased = dict(fn="avjax.losses.false_negatives.debiased", prior=prior)
    # Of cosines; scores are divided by the temperature.
    margin = dict(
        fn="avjax.losses.false_negatives.below_positive", loss_fn=method["loss_fn"],
        margin=0.05 / temperature(method),
    )  # fmt: skip
    hard = dict(
        fn="avjax.data.hard_batches.stored", group_size=group_size, skip=10, neighbors=neighbors,
        modality=modality,
    )  # fmt: skip
    return {
        "debiased": {"method.loss_fn": debiased},
        "margin": {"method.loss_fn": margin},
        "labels": {"method.group_by": dict(ref="avjax.losses.pairs.by_label")},
        "hard": {"data.train.order": hard},
    }


def lejepa(method, weight) -> dict:
    """Returns LeJEPA, which has no negatives, with embeddings of any length.

    Args:
      method: Cross-AVID on vectors.
      weight: of its statistic, which grows with the batch; so the larger B, the smaller.
    """
    free = dict(method["model"], normalize=dict(ref="avjax.nets.towers.identity"))
    return {"method": dict(
        fn="avjax.methods.lejepa", sigreg_weight=weight, num_directions=64, model=free
    )}  # fmt: skip


def moco(method, **queue) -> dict:
    """Returns MoCo; its momentum is for runs of 100 to 1,000 steps."""
    shared = {key: method[key] for key in ("model", "terms", "loss_fn")}
    return {"method": dict(
        shared, fn="avjax.methods.moco", temperature=temperature(method), momentum=0.9, **queue
    )}  # fmt: skip


def temperature(method) -> float:
    return method["temperature"]["temperature"]
