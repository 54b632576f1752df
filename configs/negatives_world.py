"""Answers to false and missing negatives, small, on the synthetic world: two minutes each.

python -m avjax.main --config configs/negatives_world.py:sogclr

After the colon is one of METHODS, see docs/concepts/negatives-and-losses.md.  Nets, data and
learning rate are those of configs/world.py, so that its cross-avid is the run to compare with.
"""

from avjax.ablation.study import override
from avjax.configs import parts, world

PRIOR = 1 / 12  # Of the twelve classes of the world.
INFO_NCE = dict(fn="avjax.losses.contrastive.info_nce")
AVID = world.avid(world.TOWERS, world.CROSS, world.IN_BATCH)


def get_config(method="sogclr"):
    changes = parts.choose(METHODS, method)
    c = world.base()
    for path, value in changes.items():
        override(c, path, value)
    return c


# Name -> {key: value} that replaces keys of the config of Cross-AVID with negatives of the batch.
METHODS = {
    "debiased": {
        "method.loss_fn": dict(fn="avjax.losses.false_negatives.debiased", prior=PRIOR),
    },
    "margin": {
        "method.loss_fn": dict(
            fn="avjax.losses.false_negatives.below_positive", loss_fn=INFO_NCE, margin=0.5
        ),
    },
    "labels": {"method.group_by": dict(ref="avjax.losses.pairs.by_label")},
    "filled-bank": {
        "method": AVID | dict(fn="avjax.methods.avid.filled_bank", negatives=world.BANK),
        world.ORDER: 10,
    },
    "sogclr": {
        "method": dict(
            fn="avjax.methods.sogclr", model=world.TOWERS, negatives=world.IN_BATCH,
            temperature=0.1, gamma=0.5,
        ),
    },
    "lejepa": {
        "method": dict(
            fn="avjax.methods.lejepa", sigreg_weight=0.05,
            model=world.TOWERS | dict(normalize=dict(ref="avjax.nets.towers.identity")),
        ),
    },
}  # fmt: skip
