"""Every pre-training method on the same clips with the same nets: which learns what?

python -m avjax.ablate --config configs/compare_methods.py --workdir runs/methods

The methods of configs/world.py, three seeds each: retrieval, linear probes and synchronization,
beside the untrained nets.  Each method gets as many draws of a video (in stages: all together;
Self and Joint see two clips of each draw, AVTS also other sounds of it).  Nothing but the method
differs, and the batches of AVTS and Multisensory are smaller, so rates, temperatures and sizes are
not each method's best, nor its paper's.  AVTS is there with its curriculum (easy negatives, then
mixed) and with three other orders: Korbar et al. (https://arxiv.org/abs/1807.00230) find it better
than easy ones only, these better than mixed from the start, and hard ones only the worst;
`avts-raw-once` has embeddings of any length and each clip in one role per batch.  Methods with a
memory bank have AVID's order of records, ten copies of the list shuffled together, and beside it
(`-repeats1`) one copy an epoch; CMA is there without its positive terms too.
`configs/compare_methods.py:smoke` is two short runs of a few methods, to see that all works.
"""

from configs import parts, world

SIZES = {"world": dict(), "smoke": dict(draws=8 * world.BATCH, videos=(72, 48))}
FEW = {"smoke": ("cross-avid", "cma", "avts", "sscl", "xdc", "multisensory")}
SEEDS = {"smoke": (0, 1)}

# What the report shows -> the names of a run's values whose mean it is.
QUANTITIES = {
    "R@1, %": "eval/world/retrieval/.2./recall@1",
    "R@10, %": "eval/world/retrieval/.2./recall@10",
    "probe of picture, %": "eval/world/linear/(video|fused)/top1",
    "probe of sound, %": "eval/world/linear/(audio|fused)/top1",
    "probe of both, %": "eval/world/linear/(both|fused)/top1",
    "sync, easy, %": "eval/sync/easy/accuracy",
    "sync, hard, %": "eval/sync/hard/accuracy",
    "sync, super-hard, %": "eval/sync/super_hard/accuracy",
    "R@10 after CMA's stage batch, %": "batch/eval/world/retrieval/.2./recall@10",
    "R@10 after CMA's stage AVID, %": "avid/eval/world/retrieval/.2./recall@10",
}


def get_config(size="world"):
    c = world.base(**parts.one_of(SIZES, size))
    c.study = dict(
        title="methods compared",
        budget="examples", amount=dict(examples=c.batch_size * c.steps), tolerance=0.0,
        seeds=SEEDS.get(size, (0, 1, 2)), rates=(c.learning_rate,), tuning_seed=1000,
        report=dict(fn="avjax.report.comparison_page.make", quantities=QUANTITIES),
    )  # fmt: skip
    return c


def sweep(size="world"):
    """A method an arm."""
    for name in FEW.get(size, world.METHODS):
        yield arm(name, SIZES[size].get("draws", world.DRAWS))


def arm(name, draws, towers=world.TOWERS):
    batch = world.BATCHES.get(name, world.BATCH)
    return dict(
        name=name, strategy=name, loss="", batch=batch, negatives=None,
        overrides=world.METHODS[name](draws // batch, towers), tune=True,
    )  # fmt: skip
