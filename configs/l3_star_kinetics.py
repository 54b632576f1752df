"""L3* on Kinetics-400: L3 with AVID's encoders, data and optimizer, as its authors compared it.

python -m avjax.main --config configs/l3_star_kinetics.py --config.data.root=DIR

DIR as in configs/avid_kinetics.py.  Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943:
after fine-tuning UCF101 74.4 and HMDB51 47.8 (16 frames); from AudioSet 82.3 and 51.6.
Not yet run here.

`--config configs/l3_star_kinetics.py:world` is small, for a CPU, on the world of configs/smoke.py.
"""

from configs import avid_kinetics, smoke


def get_config(size="paper"):
    return {"paper": paper, "world": world}[size]()


def paper():
    c = avid_kinetics.get_config()
    c.sharding = ((".*", ()),)
    c.method = corresponding(c.method.model)
    return c


def world():
    c = smoke.get_config()
    c.method = corresponding(c.method.model)
    return c


def corresponding(model) -> dict:
    """L3* on the towers of a config of AVID, whose heads give way to the features themselves."""
    bare = dict(fn="avjax.nets.heads.Mlp", widths=())
    return dict(
        fn="avjax.methods.l3",
        model=model.to_dict() | dict(heads=dict(video=bare, audio=bare)),
        classifier=dict(fn="avjax.nets.heads.Mlp", widths=(128, 1)),
        pairs=dict(fn="pkgutil.resolve_name", args=("avjax.methods.l3.twice",)),
    )
