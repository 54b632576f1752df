"""AVID, then CMA, on Kinetics-400, the paper's recipe.  Morgado et al., CVPR 2021,
https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/cma_kinetics.py --config.data.root=DIR --workdir runs/cma

DIR as in configs/avid_kinetics.py.  The paper: 20 epochs after the 30 of AVID; after fine-tuning
UCF101 87.5 and HMDB51 60.8 (32 frames), linear probe of Kinetics 44.4.  Not yet run here.

`--config configs/cma_kinetics.py:ported --config.init_from.folder=PORTED` starts from a checkpoint
ported by `python -m avjax.port avid FILE --out PORTED`; the videos must be those that it was
trained on, in the order of its list.
"""

from ml_collections import config_dict

from avjax.configs import avid_kinetics, parts

INIT_PATHS = ("params", "state/stats", "state/memory")  # Of the run of AVID.
STEPS = 45_300  # 20 epochs of 10 clips of 232,067 videos.
SHARDING = (("memory/(video|audio)/rows$|positive_rows$", (("data", "fsdp"),)), (".*", "fsdp"))


def get_config(start="paper"):
    return parts.choose({"paper": paper, "ported": ported}, start)()


def paper():
    c = avid_kinetics.get_config()
    whole = c.steps  # 30 epochs.
    return with_cma(c, (c.get_ref("steps") * STEPS + whole - 1) // whole)


def with_cma(c, steps, **more):
    """Returns AVID as in `c`, followed by `steps` of CMA with the keys `more`."""
    c.sharding_rules = SHARDING
    stage = cma_stage(c.method.model, steps) | more
    c.stages = dict(avid={}, cma=dict(after=dict(avid=INIT_PATHS), **stage))
    return c


def cma_stage(model, steps) -> dict:
    """Returns the keys of the paper's CMA stage; a new Adam at the same learning rate."""
    method = cma(
        model, num_positives=32, num_negatives=1024, within_modal_negatives=64, temperature=0.07
    )
    # New positive sets four times: every 5 of the 20 epochs.
    return dict(method=method, steps=steps, refresh_every=(steps + 3) // 4)


def cma(model, **sizes) -> dict:
    return dict(
        fn="avjax.methods.cma",
        model=model,
        positive_criterion="consensus",
        terms={"inst-v2a": 1.0, "inst-a2v": 1.0, "pos-v2v": 1.0, "pos-a2a": 1.0},
        momentum=0.5,
        **sizes,
    )


def ported():
    c = avid_kinetics.get_config()
    c.sharding_rules, c.steps = SHARDING, STEPS
    cma = cma_stage(c.method.model, c.get_ref("steps"))
    c.method, c.refresh_every = cma["method"], cma["refresh_every"]
    c.init_from = dict(
        folder=config_dict.placeholder(str),
        # With the measured Z.
        paths=("params", "state/stats/batch_stats", "state/memory", "state/z"),
    )
    return c
