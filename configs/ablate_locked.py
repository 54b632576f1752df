"""Batch size, or number of negatives, on locked features of your own videos.

python -m avjax.ablate --config configs/ablate_locked.py --config.run=RUN --config.data.root=DIR \\
    --config.data.splits=FILE --workdir runs/locked_negatives

Heads on the features of RUN (configs/locked_folder.py), with each source of negatives at several
batch sizes B and numbers K of negatives, SogCLR, losses against false negatives (`labels` knows the
classes), batches of neighbors, LeJEPA without negatives, and DCL as a control; the arms are named
as in configs/ablate_negatives.py.  FILE has the splits train, val and test: learning rates are
selected on val.  Training needs 1,000 records or more.  `configs/ablate_locked.py:folder-N` has the
debiased loss too, which needs the number N of classes; `configs/ablate_locked.py:latent` does the
same on drawn pairs and needs no files.

A run takes seconds once the features are there.
"""

from avjax.configs import ablate_negatives, locked_folder, loss_arms, parts

BATCHES = {64: (63,), 256: (63, 255), 1000: (63, 999)}  # B -> values of K, of the batch.
STORED = {64: (63, 999), 1000: (63, 999)}  # The same, of a bank and of a queue.
EXAMPLES = 32_000
LATENT_CLASSES = 100
RECORDS = dict(train=1024, val=512, test=512)  # Of drawn pairs.


def get_config(size="folder"):
    kind, _ = parse(size)
    c = locked_folder.get_config(kind)
    c.batch_size, c.steps, c.log_every, c.save_every = 256, EXAMPLES // 256, 10, 2000
    train, val, test = folder(c) if kind == "folder" else map(drawn, RECORDS)
    c.data.train = locked_folder.data_set(train) | dict(repeats=1, order=None)
    seen = locked_folder.data_set(train)
    c.evals = dict(test=suite(seen, test))
    c.study = dict(
        title="batch size against negatives, on locked features",
        budget="examples", budget_per_run=dict(examples=EXAMPLES, steps=500, flops=1e12),
        tolerance=0.02, seeds=(0, 1, 2, 3, 4), learning_rates=(3e-4, 1e-3, 3e-3, 1e-2),
        tuning_seed=1000, evals=dict(val=suite(seen, val)), report_metric="recall@10",
        tuning_metrics=("eval/val/retrieval/v2a/recall@10", "eval/val/retrieval/a2v/recall@10"),
    )  # fmt: skip
    return c


def folder(c) -> tuple[dict, dict, dict]:
    """Returns the sources of train, val and test: features of videos."""
    train, test = parts.user_splits(c.data)
    train, val = (train | dict(train_split=split) for split in ("train", "val"))
    return tuple(locked_folder.features(c, split) for split in (train, val, test))


def drawn(split) -> dict:
    """Returns drawn pairs of vectors; few of them, with much noise."""
    return dict(locked_folder.drawn(split), num_records=RECORDS[split], noise=0.6)


def suite(train, test) -> dict:
    """Returns retrieval, the probe of the embeddings, alignment and uniformity."""
    spec = locked_folder.suite(train, test)
    spec["scores"]["geometry"] = dict(fn="avjax.evals.alignment")
    spec["scores"].pop("knn")
    return spec


def parse(size) -> tuple[str, int | None]:
    """Returns (kind, number of classes, if known) of what follows the colon."""
    kind, _, number = size.partition("-")
    if kind == "folder" and number.isdigit() and int(number):
        return kind, int(number)
    parts.choose(dict.fromkeys(("folder", "folder-N", "latent")), size)
    return kind, LATENT_CLASSES if kind == "latent" else None


def sweep(size="folder"):
    """Yields negatives of the batch, of a bank, of a queue, and the other losses at each B."""
    _, classes = parse(size)
    for batch, counts in BATCHES.items():
        for k in counts:
            own = dict(fn="avjax.losses.negatives.in_batch")
            own |= {} if k == batch - 1 else dict(num_negatives=k)
            yield ablate_negatives.arm("in_batch", batch, k, own, tune=k == batch - 1)
    method = locked_folder.method(128)
    for batch, counts in STORED.items():
        for k in counts:
            bank = dict(fn="avjax.losses.memory_bank", num_negatives=k)
            yield ablate_negatives.arm("bank", batch, k, bank, repeats=10)
            yield ablate_negatives.arm("bank-repeats1", batch, k, bank)
            queue = dict(queue_size=-(-k // batch) * batch, num_negatives=k)
            yield ablate_negatives.named("moco", batch, k, loss_arms.moco(method, **queue))
            queue |= dict(fn="avjax.losses.queue")
            yield ablate_negatives.arm("queue-no-momentum", batch, k, queue)
    for batch in BATCHES:
        own = dict(fn="avjax.losses.negatives.in_batch")
        yield ablate_negatives.arm("in_batch", batch, batch - 1, own, "dcl")
        for name, changes in others(method, classes, batch).items():
            yield ablate_negatives.named(name, batch, batch - 1, changes, name)


def others(method, classes, batch) -> dict:
    """Returns {name: overrides} of the other losses; a debiased one if classes are counted."""
    prior = 1 / (classes or 1)
    found = loss_arms.against_false_negatives(method, prior, group_size=8, neighbors=20)
    if not classes:
        found.pop("debiased")
    return (
        dict(sogclr=loss_arms.sogclr(method))
        | found
        | dict(lejepa=loss_arms.lejepa(method, 3.2 / batch))
    )
