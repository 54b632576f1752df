"""AVID, then CMA, on AudioSet, the paper's recipe.  Morgado et al., CVPR 2021,
https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/cma_audioset.py --config.data.root=DIR
--config.data.lists=LISTS --workdir runs/cma

DIR and LISTS as in configs/multisensory_audioset.py.  The paper: 40 epochs after the 40 of AVID;
after fine-tuning UCF101 91.5 and HMDB51 64.7 (32 frames), linear probe of Kinetics 48.9.  Not yet
run here.
"""

from avjax.configs import avid_audioset, cma_kinetics, optimizers


def get_config():
    c = avid_audioset.get_config()
    adam = optimizers.with_l2_decay(1e-5, dict(fn="optax.adam", learning_rate=1e-4))
    return cma_kinetics.with_cma(c, c.get_oneway_ref("steps"), optimizer=adam)
