"""Cross-AVID on AudioSet, the paper's recipe.  Morgado et al., CVPR 2021,
https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/avid_audioset.py --config.data.root=DIR
--config.data.lists=LISTS --workdir runs/avid

DIR and LISTS as in configs/multisensory_audioset.py.  The paper: 1,784,108 videos, 40 epochs of 5
clips per video on 128 GPUs; after fine-tuning UCF101 91.0 and HMDB51 64.1 (32 frames).  Not yet run
here.
"""

from avjax.configs import avid_kinetics, optimizers


def get_config():
    c = avid_kinetics.get_config()
    # Paper: which of the two lists for training is not known; here it is unbalanced_train.
    c.data.source, c.data.train.repeats = "audioset", 5
    c.batch_size = 2560
    c.steps = 139_400  # 40 epochs of 5 clips of 1,784,108 videos.
    c.optimizer = optimizers.with_l2_decay(1e-5, dict(fn="optax.adam", learning_rate=5e-4))
    with c.unlocked():
        c.evals = dict(audioset=c.evals.kinetics)
    return c
