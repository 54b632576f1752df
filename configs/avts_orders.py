"""In which order are negatives best made harder?  The orders of AVTS on the synthetic world.

python -m avjax.ablate --config configs/avts_orders.py --workdir runs/orders

Every arm sees as many clips, at three seeds, and is judged by the pairs of other videos that it
tells right, with easy, hard and super-hard negatives; chance is 50.

Korbar et al., NeurIPS 2018, https://arxiv.org/abs/1807.00230, on Kinetics with easy negatives:
easy ones alone 69.0, mixed from the start 58.9, hard alone 52.3; after 50 of 90 epochs of easy
ones mixed 78.4, hard 65.7.  Not yet run here.
"""

import ml_collections

from configs import parts

BATCH, STEPS = 64, 300
# Easy, hard and super-hard negatives.
EASY, MIXED, ONLY_HARD = (1.0, 0.0, 0.0), (0.75, 0.25, 0.0), (0.0, 1.0, 0.0)
SECOND = STEPS * 5 // 9
ORDERS = {
    "easy-then-mixed": ((0, EASY), (SECOND, MIXED)),
    "easy-then-hard": ((0, EASY), (SECOND, ONLY_HARD)),
    "easy": ((0, EASY),),
    "mixed": ((0, MIXED),),
    "hard": ((0, ONLY_HARD),),
}


def get_config():
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps, c.learning_rate = 0, BATCH, STEPS, 0.03
    c.log_every, c.save_every, c.keep, c.refresh_every = 10, 50, 1, 0
    c.calibration = 256
    c.sharding = ((".*", ()),)

    clip = dict(frames=8, fps=8.0, seconds=1.0, rate=8000, canvas=(48, 48))
    # Hard: at least half a second between the two sounds.
    hard, super_hard = (1.5, None), 0.5
    # In this world a thing's hue tells the pitch of its sound, so hues are left as they are.
    learned = parts.training_clips(source("train", 720), **clip, area=0.5, jitter=0.1, hue=0.0)
    c.data = dict(train=parts.on_host(parts.shifted(learned, hard), 32))
    c.method = parts.avts(
        video=dict(fn="avjax.nets.vmz.mc3", depth=10, width=8),
        audio=dict(fn="avjax.nets.vggm.VGGM9", width=8),
        rate=8000, dim=64, curriculum=ORDERS["easy"],
    )  # fmt: skip
    # Paper: the rate falls on a plateau; here it stays, lest it tell the orders apart.
    c.optimizer = dict(fn="optax.sgd", learning_rate=c.get_ref("learning_rate"), momentum=0.9)
    judged = parts.judging_clips(source("test", 360), **clip, count=2)
    judged = parts.on_host(parts.shifted(judged, hard, super_hard), 32)
    c.evals = dict(sync=dict(fn="avjax.evals.sync", data=judged))
    found = {
        f"{kind} negatives, {name}": f"eval/sync/{key}/{metric}"
        for kind, key in (("easy", "easy"), ("hard", "hard"), ("super-hard", "super"))
        for name, metric in (("pairs told right, %", "accuracy"), ("AUROC, %", "auroc"))
    }
    c.study = dict(
        budget="examples", amount=dict(examples=BATCH * STEPS, steps=STEPS), tolerance=0.02,
        seeds=(0, 1, 2), rates=(0.03,), tuning_seed=1000, evals={}, metrics=(),
        report=dict(fn="avjax.report.methods", quantities=found),
    )  # fmt: skip
    return c


def sweep():
    for name, curriculum in ORDERS.items():
        yield dict(
            name=name, strategy=name, loss="margin", batch=BATCH, negatives=1,
            overrides={"method.curriculum": curriculum}, tune=name == "easy",
        )  # fmt: skip


def source(split, videos):
    """Synthetic videos, decoded once for all runs."""
    world = dict(fn="avjax.data.synthetic", root="{workdir}/world", split=split, videos=videos)
    return parts.decoded_once(dict(world, seconds=4.0, size=48, fps=8, rate=8000), 8.0, 8000)
