"""Compares all pre-training methods on the same clips with the same nets.

python -m avjax.ablate --config configs/compare_methods.py --workdir runs/methods

The methods of configs/world.py, three seeds each: retrieval, linear probes and synchronization,
against the untrained nets.  Each method gets the same number of draws of videos (stages: in all;
Self and Joint use two clips per draw, AVTS also other audio of it).  Only the method differs, and
the smaller batches of AVTS and Multisensory, so learning rates, temperatures and sizes are neither
tuned nor the paper's.  AVTS has its curriculum (easy negatives, then mixed) and three others:
Korbar et al. (https://arxiv.org/abs/1807.00230) find it better than easy ones only, these better
than mixed from the start, and hard ones only the worst; `avts-raw-once` has embeddings that are not
normalized and each clip in one role per batch.  Methods with a memory bank use AVID's order of
records, ten copies of the list shuffled together, or (`-repeats1`) one copy per epoch; CMA also
runs without its positive terms.  `configs/compare_methods.py:smoke` is a quick test: two short
runs of a few methods.
"""

from avjax.configs import parts, world

SIZES = {"world": dict(), "smoke": dict(draws=8 * world.BATCH, videos=(72, 48))}
FEW = {"smoke": ("cross-avid", "cma", "avts", "sscl", "xdc", "multisensory")}
SEEDS = {"smoke": (0, 1)}

# Title in the report -> pattern of the values of a run that are averaged.
QUANTITIES = {
    "R@1, %": "eval/world/retrieval/.2./recall@1",
    "R@10, %": "eval/world/retrieval/.2./recall@10",
    "linear probe, video, %": "eval/world/linear/(video|fused)/top1",
    "linear probe, audio, %": "eval/world/linear/(audio|fused)/top1",
    "linear probe, both, %": "eval/world/linear/(both|fused)/top1",
    "sync, easy, %": "eval/sync/easy/accuracy",
    "sync, hard, %": "eval/sync/hard/accuracy",
    "sync, super-hard, %": "eval/sync/super_hard/accuracy",
    "R@10 after CMA's stage batch, %": "batch/eval/world/retrieval/.2./recall@10",
    "R@10 after CMA's stage AVID, %": "avid/eval/world/retrieval/.2./recall@10",
}


def get_config(size="world"):
    c = world.base(**parts.choose(SIZES, size))
    c.study = dict(
        title="methods compared",
        budget="examples", budget_per_run=dict(examples=c.batch_size * c.steps), tolerance=0.0,
        seeds=SEEDS.get(size, (0, 1, 2)), learning_rates=(c.learning_rate,), tuning_seed=1000,
        report=dict(fn="avjax.report.comparison_page.make", quantities=QUANTITIES),
    )  # fmt: skip
    return c


def sweep(size="world"):
    """Yields one arm per method."""
    for name in FEW.get(size, world.METHODS):
        yield arm(name, SIZES[size].get("draws", world.NUM_DRAWS))


def arm(name, draws, towers=world.TOWERS):
    batch = world.BATCHES.get(name, world.BATCH)
    return dict(
        name=name, strategy=name, loss="", batch=batch, negatives=None,
        overrides=world.METHODS[name](draws // batch, towers), tune=True,
    )  # fmt: skip
