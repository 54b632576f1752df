"""L3* on Kinetics-400: L3 with AVID's encoders, data and optimizer, as its authors compared it.

python -m avjax.main --config configs/l3_star_kinetics.py --config.data.root=DIR

DIR as in configs/avid_kinetics.py.  Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943:
after fine-tuning UCF101 74.4 and HMDB51 47.8 (16 frames); from AudioSet 82.3 and 51.6.
Not yet run here.
"""

from avjax.configs import avid_kinetics


def get_config():
    c = avid_kinetics.get_config()
    c.sharding_rules = ((".*", "fsdp"),)
    # The heads give way to the features themselves.
    bare = dict(fn="avjax.nets.layers.mlp.Mlp", widths=())
    c.method = dict(
        fn="avjax.methods.l3",
        model=c.method.model.to_dict() | dict(heads=dict(video=bare, audio=bare)),
        classifier=dict(fn="avjax.nets.layers.mlp.Mlp", widths=(128, 1)),
        pairs=dict(ref="avjax.methods.l3.matched_and_mismatched_pairs"),
    )
    return c
