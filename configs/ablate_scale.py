"""Batch size, number of negatives and their source at scale, on vectors: no pixels, heads only.

python -m avjax.ablate --config configs/ablate_scale.py --workdir runs/scale

Drawn pairs of vectors (avjax.data.datasets.latent) with known classes, nuisances and noise take the
place of features of locked towers.  Arms differ in the source of negatives, B, K, the number of
records N, and the budget: equal examples (4 epochs), steps (100) or FLOPs (those of the arm with
B = 1024 and all of its batch as negatives).  The learning rate is selected for each B.  The report
tests five claims.  After the colon:

  scale  all arms (the default)        no-64k  without B = 65,536
  smoke  a few arms, minutes
"""

import ml_collections

from avjax.configs import loss_arms, optimizers, parts

TAU, DIM, WIDTH, HIDDEN = 0.1, 64, 32, 128
EPOCHS, STEPS = 4, 100
SMALL, MIDDLE, LARGE = 6400, 25_600, 102_400  # N.
CLASSES = 100
FEW = ("in_batch", "dcl", "bank", "sogclr", "hard", "lejepa")  # Sources of "smoke".
# B -> weight and learning rate, the best on validation records, see docs/results/scale.md.
LEJEPA = {64: (0.05, 3e-3), 1024: (0.002, 1e-2)}
COSINES = (15, 63, 255, 1023)
INFO_NCE = dict(fn="avjax.losses.contrastive.info_nce")
BATCHES = {"smoke": (64, 256, 1024), "no-64k": (64, 256, 1024, 4096, 16_384)}
BATCHES["scale"] = (*BATCHES["no-64k"], 65_536)
QUANTITIES = {
    "R@1, %": "eval/test/retrieval/.2./recall@1",
    "probe, %": "eval/test/probe/both/top1",
}
OTHERS = {
    "R@10, %": "eval/test/retrieval/.2./recall@10",
    "alignment": "eval/test/geometry/.2./alignment",
    "uniformity": "eval/test/geometry/(video|audio)/uniformity",
    "expected false negatives": "false_negatives/expected",
    "negatives above positive": "score/negatives_above_positive",
    "loss less that of equal scores": "loss_below_uniform",
    "seconds per step": "seconds_per_step",
}


def get_config(size="scale"):
    parts.choose(BATCHES, size)
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps, c.learning_rate = 0, 1024, EPOCHS * MIDDLE // 1024, 3e-3
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 100_000, 1, 0
    c.init_examples = 256
    c.sharding_rules = ((".*", "fsdp"),)
    c.data = dict(train=dataset("train", MIDDLE) | dict(repeats=1, order=None))
    c.method = avid(tiled(), INFO_NCE)
    c.optimizer = optimizers.adamw_cosine(
        c.get_ref("learning_rate"), c.get_ref("steps") // 10, c.get_ref("steps"), weight_decay=1e-4
    )
    c.evals = dict(test=suite("test", 4000))
    cosines = {k: rf"eval/test/gradient/cosine@{k}" for k in COSINES}
    section = dict(
        fn="avjax.report.scale_section.make", quantities=QUANTITIES, claim="R@1, %",
        cosines=cosines,
    )  # fmt: skip
    c.study = dict(
        title="batch size, negatives and records at scale",
        # Arms set their steps, for three budgets in one study.
        budget="examples", budget_per_run=dict(examples=EPOCHS * MIDDLE), tolerance=1e9,
        seeds=(0, 1) if size == "smoke" else (0, 1, 2, 3, 4),
        learning_rates=(3e-3, 1e-2) if size == "smoke" else (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
        tuning_seed=1000, evals=dict(val=suite("val", 2000)),
        tuning_metrics=("eval/val/retrieval/v2a/recall@1", "eval/val/retrieval/a2v/recall@1"),
        report=dict(
            fn="avjax.report.comparison_page.make", quantities=QUANTITIES | OTHERS,
            sections=(section,),
        ),
    )  # fmt: skip
    return c


def dataset(split, records):
    source = dict(
        fn="avjax.data.datasets.latent", split=split, num_records=records, num_classes=CLASSES,
        dim=DIM,
    )  # fmt: skip
    return dict(
        source=source, clip_sampler=dict(fn="avjax.data.clip_sampling.stored"), transforms=()
    )


def suite(split, records):
    """Returns retrieval, a linear probe on what is trained, geometry and gradients."""
    scores = dict(
        retrieval=dict(fn="avjax.evals.retrieval"),
        probe=dict(fn="avjax.evals.linear_probe", l2_regs=(1e-3,), max_iter=100),
        geometry=dict(fn="avjax.evals.alignment"),
        gradient=dict(fn="avjax.evals.subset_gradient", num_negatives=COSINES, temperature=TAU,
                      records=2000),
    )  # fmt: skip
    return dict(
        fn="avjax.evals.suite", train=dataset("train", 2000), test=dataset(split, records),
        scores=scores, batch_size=2000, thumbnails=0,
    )  # fmt: skip


def model(**more):
    """Returns towers of which all is trained: encoders as heads, so that the probe sees them."""
    identity = dict(fn="avjax.nets.identity.Identity")
    encoder = dict(fn="avjax.nets.layers.mlp.Mlp", widths=(HIDDEN, WIDTH))
    head = dict(fn="avjax.nets.layers.mlp.Mlp", widths=())
    kinds = dict(frontends=identity, encoders=encoder, heads=head)
    towers = {kind: dict(video=part, audio=part) for kind, part in kinds.items()}
    return dict(fn="avjax.nets.towers.Towers", **towers, **more)


def avid(negatives, loss_fn, fn="avjax.methods.avid", **more):
    return dict(
        fn=fn, model=model(), negatives=negatives, loss_fn=loss_fn, terms=dict(v2a=1.0, a2v=1.0),
        temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=TAU), **more,
    )  # fmt: skip


def tiled(k=None):
    return dict(fn="avjax.losses.negatives.tiled", num_negatives=k)


def bank(k):
    return dict(fn="avjax.losses.memory_bank", num_negatives=k)


def flops_per_example(batch):
    """Returns the products of an example: nets, then the loss in both directions."""
    return 6 * 2 * (DIM * HIDDEN + HIDDEN * WIDTH) + 8 * WIDTH * batch


def arm(source, batch, k, changes, records=MIDDLE, budget="examples", tune=False):
    """Returns an arm; its name says all that it differs in."""
    examples = EPOCHS * records
    if budget == "steps":
        examples = STEPS * batch
    if budget == "flops":
        examples *= flops_per_example(1024) / flops_per_example(batch)
    name = f"{source}-b{batch}-k{k}-n{records}-{budget}"
    changes = {"steps": max(1, round(examples / batch)), **changes}
    if records != MIDDLE:
        changes["data.train.source.num_records"] = records
    losses = {"in_batch": "info_nce", "dcl": "dcl"}
    return dict(
        name=name, strategy=name, loss=losses.get(source, source), batch=batch, negatives=k,
        overrides=changes, tune=tune,
    )  # fmt: skip


def sweep(size="scale"):
    """Yields B alone, K at fixed B, other sources and losses, other budgets, other N."""
    for spec in all_arms(size):
        if size != "smoke" or (spec["batch"] > 64 and spec["name"].split("-")[0] in FEW):
            yield spec


def all_arms(size):
    batches = [b for b in parts.choose(BATCHES, size) if b <= MIDDLE]
    for b in batches:
        yield arm("in_batch", b, b - 1, {}, tune=True)
        yield arm("dcl", b, b - 1, loss("avjax.losses.contrastive.dcl"))
    for b in (1024, 4096):
        for k in (15, 63, 255, 1023):
            if b in batches and k < b - 1:
                yield arm("in_batch", b, k, {"method.negatives": tiled(k)})
    yield from memories(batches)
    yield from answers(batches)
    for b in (64, 256, 4096):
        if b in batches:
            for budget in ("steps", "flops"):
                yield arm("in_batch", b, b - 1, {}, budget=budget)
    for budget in ("steps", "flops"):
        yield arm("in_batch", 1024, 1023, {}, budget=budget)
    for n in (SMALL, LARGE) if size != "smoke" else (SMALL,):
        for b in parts.choose(BATCHES, size):
            if b <= n:
                yield arm("in_batch", b, b - 1, {}, records=n, tune=b > MIDDLE)


def memories(batches):
    """Yields banks in three orders and starts, queues and MoCo."""
    for b, counts in {64: (63, 1023), 1024: (15, 63, 255, 1023)}.items():
        for k in counts:
            ten = {"method.negatives": bank(k), "data.train.repeats": 10}
            yield arm("bank", b, k, ten)
    for b, k in ((64, 63), (1024, 1023)):
        filled = {"method": avid(bank(k), INFO_NCE, "avjax.methods.avid.filled_bank")}
        yield arm("bank.once", b, k, {"method.negatives": bank(k)})
        yield arm("bank.filled", b, k, filled | {"data.train.repeats": 10})
        yield arm("bank.filled.once", b, k, filled)
    for b, k in ((64, 63), (64, 1023), (1024, 1023)):
        queue = dict(queue_size=-(-(k + 1) // b) * b, num_negatives=k)
        yield arm("queue", b, k, {"method.negatives": dict(fn="avjax.losses.queue", **queue)})
        yield arm("moco", b, k, loss_arms.moco(avid(tiled(), INFO_NCE), **queue))


def answers(batches):
    """Yields answers to few and to false negatives, and none at all."""
    own = avid(tiled(), INFO_NCE)
    for b in (b for b in batches if b <= 4096):
        yield arm("sogclr", b, b - 1, loss_arms.sogclr(own))
    found = loss_arms.against_false_negatives(own, 1 / CLASSES, group_size=32, neighbors=40)
    for b in (64, 1024):
        for name, changes in found.items():
            yield arm(name, b, b - 1, changes)
    for b, (weight, rate) in LEJEPA.items():
        yield arm("lejepa", b, b - 1, loss_arms.lejepa(own, weight) | {"learning_rate": rate})


def loss(fn, **more):
    return {"method.loss_fn": dict(fn=fn, **more)}
