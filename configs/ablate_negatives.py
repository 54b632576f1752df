"""Which matters more for contrastive learning: batch size, or the number of negatives?

python -m avjax.ablate --config configs/ablate_negatives.py --workdir runs/negatives

Cross-AVID on the synthetic world, with each source of negatives at several batch sizes B and
numbers K of negatives, and DCL as a control.  Half an hour on two cores of a CPU; the larger
version is `--config configs/ablate_negatives.py:world`.  `--budget steps` and `--budget flops`
compare the arms at equal steps or equal floating-point operations; the default is equal examples.

The sources are the batch (`in_batch`); a memory bank with AVID's order of records, ten copies of
the list shuffled together (`bank`), and with one copy an epoch (`bank-repeats1`); a queue of keys
of momentum encoders, which is MoCo (`moco`), and of keys of the trained encoders themselves
(`queue-no-momentum`).
"""

import ml_collections

from avjax.configs import optimizers, parts

# videos: of train, val and test.  batches: B -> values of K < B with negatives from the batch.
# stored: B -> values of K with a bank and with a queue.
SIZES = {
    "smoke": dict(
        videos=(360, 120, 192), pixels=32, frames=4, width=8, head=(64, 32),
        budget_per_run=dict(examples=5120, steps=120, flops=1.7e11),
        learning_rates=(1e-3, 3e-3, 1e-2),
        batches={16: (15,), 32: (15, 31), 64: (15, 63)}, stored={16: (15, 63), 64: (15, 63)},
        controls=(16, 64),
    ),
    "world": dict(
        videos=(720, 240, 480), pixels=32, frames=4, width=8, head=(64, 32),
        budget_per_run=dict(examples=11_520, steps=180, flops=4e11),
        learning_rates=(1e-3, 3e-3, 1e-2),
        batches={16: (15,), 64: (15, 63), 128: (15, 127)},
        stored={16: (15, 127), 128: (15, 127)}, controls=(16, 128),
    ),
}  # fmt: skip


def get_config(size="smoke"):
    s = parts.choose(SIZES, size)
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps, c.learning_rate = 0, 64, 1000, 3e-3
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 10, 50, 1, 0
    c.init_examples = 256
    c.sharding_rules = ((".*", "fsdp"),)

    clip = dict(
        num_frames=s["frames"], fps=4.0, audio_seconds=1.5, sample_rate=8000, frame_size=(48, 48)
    )
    data = {split: source(split, n) for split, n in zip(("train", "val", "test"), s["videos"])}
    # In this world an object's hue determines the pitch of its sound, so hues are not jittered.
    augmentation = dict(max_offset_seconds=0.0, min_area=0.5, color_jitter=0.1, hue=0.0)
    train_data = parts.train_clips(data["train"], **clip, **augmentation)
    c.data = dict(train=parts.apply_on_host(train_data, s["pixels"]) | dict(repeats=1))
    c.method = parts.cross_avid_in_batch(model(s))
    c.optimizer = optimizers.adamw_cosine(
        c.get_ref("learning_rate"), c.get_ref("steps") // 10, c.get_ref("steps"), weight_decay=1e-4
    )
    eval_data = {
        split: parts.apply_on_host(parts.eval_clips(of, **clip, num_clips=2), s["pixels"])
        for split, of in data.items()
    }
    c.evals = dict(test=suite(test=eval_data["test"], train=eval_data["train"]))
    c.study = dict(
        title="batch size against negatives",
        budget="examples", budget_per_run=s["budget_per_run"], tolerance=0.02, seeds=(0, 1, 2),
        learning_rates=s["learning_rates"],
        # Learning rates are selected by runs with another seed, on records outside train and test.
        tuning_seed=1000, evals=dict(val=suite(test=eval_data["val"])),
        report_metric="recall@10",  # Or recall@1, recall@5, probe.
        tuning_metrics=("eval/val/retrieval/v2a/recall@10", "eval/val/retrieval/a2v/recall@10"),
    )  # fmt: skip
    return c


def model(sizes):
    return parts.towers(
        video=dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=10, width=sizes["width"]),
        audio=dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=sizes["width"]),
        head=sizes["head"],
        window=256,
        hop=160,
    )


def sweep(size="smoke"):
    """Yields sources of negatives at several B and K, then DCL at the smallest and largest B."""
    s = parts.choose(SIZES, size)
    for batch, counts in s["batches"].items():
        for k in counts:
            draws = None if k == batch - 1 else k
            fn = dict(fn="avjax.losses.negatives.in_batch", num_negatives=draws)
            yield arm("in_batch", batch, k, fn, tune=draws is None)
    for batch, counts in s["stored"].items():
        for k in counts:
            bank = dict(fn="avjax.losses.memory_bank", num_negatives=k)
            yield arm("bank", batch, k, bank, repeats=10)
            yield arm("bank-repeats1", batch, k, bank)
            # A queue holds whole batches, so it is one longer than what is sampled from it.
            queue = dict(queue_size=-(-k // batch) * batch, num_negatives=k)
            yield moco("moco", batch, k, queue, s)
            yield arm("queue-no-momentum", batch, k, dict(fn="avjax.losses.queue", **queue))
    for batch in s["controls"]:
        yield arm("in_batch", batch, batch - 1, dict(fn="avjax.losses.negatives.in_batch"), "dcl")


def arm(strategy, batch, k, negatives, loss="info_nce", tune=False, repeats=1):
    """Returns an arm; repeats=10 is AVID's order of records, which matters for banks only."""
    changes = {
        "method.negatives": negatives,
        "method.loss_fn": dict(fn=f"avjax.losses.contrastive.{loss}"),
        "data.train.repeats": repeats,
    }
    return named(strategy, batch, k, changes, loss, tune)


def moco(strategy, batch, k, queue, sizes):
    """Returns an arm of MoCo; its momentum is for runs of 100 to 1,000 steps."""
    method = dict(
        fn="avjax.methods.moco", model=model(sizes), terms=dict(v2a=1.0, a2v=1.0), temperature=0.1,
        loss_fn=dict(fn="avjax.losses.contrastive.info_nce"), momentum=0.9, **queue,
    )  # fmt: skip
    return named(strategy, batch, k, {"method": method})


def named(strategy, batch, k, changes, loss="info_nce", tune=False):
    return dict(
        name=f"{strategy}-{loss.replace('_', '')}-b{batch}-k{k}",
        strategy=strategy, loss=loss, batch=batch, negatives=k, overrides=changes, tune=tune,
    )  # fmt: skip


def source(split, videos):
    """Returns the synthetic world, decoded once for all runs."""
    world = dict(
        fn="avjax.data.datasets.synthetic", root="{workdir}/world", split=split, num_videos=videos
    )
    world = dict(world, seconds=3.0, size=48, fps=8, sample_rate=8000)
    return parts.cached(world, fps=8.0, sample_rate=8000)


def suite(**data):
    """Returns retrieval, linear probe, alignment and uniformity."""
    spec = parts.suite(**data)
    spec["scores"]["geometry"] = dict(fn="avjax.evals.alignment")
    spec["scores"].pop("knn", None)
    spec["thumbnails"] = 0
    return spec
