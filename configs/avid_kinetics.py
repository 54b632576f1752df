"""Cross-AVID on Kinetics-400, the paper's recipe.  Morgado et al., CVPR 2021,
https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/avid_kinetics.py --config.data.root=DIR --workdir runs/avid

DIR holds one folder a class, with the videos in it, or is what avjax.prepare wrote;
`--config.data.splits=FILE` is a CSV of the columns `path` and `split`.  Of a published data set:
`--config.data.source=kinetics` (audioset, vggsound, ...; see avjax/data/dataset.py).

Where more than 1 % of the files have no sound, as in Kinetics as it is published, the run stops:
`--config.data.train.skip_no_audio=True` trains on the others, and `--config.data.quarantine=FILE`
leaves out what a list names, such as the one that avjax.prepare writes.

The paper: 232,067 videos, 30 epochs of 10 clips a video on 32 GPUs; after fine-tuning UCF101 86.9
and HMDB51 59.9 (32 frames).  Not yet run here.
"""

import ml_collections

from configs import parts


def get_config():
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size = 0, 1024
    c.steps = 68_000  # 30 epochs of 10 clips of 232,067 videos.
    c.log_every, c.save_every, c.keep, c.refresh_every = 20, 1000, 3, 0
    c.calibration = 1024
    # A row of the bank is never needed whole on one device.
    c.sharding = (("memory/(video|audio)/rows$", ("data",)), (".*", ()))

    c.data = parts.user_videos()
    train, test = parts.user_splits(c.data)
    clip = dict(
        num_frames=8, fps=16.0, audio_seconds=2.0, sample_rate=24_000, frame_size=(256, 456)
    )
    c.on_device = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=224)
    c.data.train = parts.train_clips(train, **clip) | dict(repeats=10)
    c.method = dict(
        fn="avjax.methods.avid",
        # Paper: float32, and batch statistics of the 32 clips of a GPU (batch_norm.batch_norm(32)).
        model=parts.towers(
            video=dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=18, dtype="bfloat16"),
            audio=dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", dtype="bfloat16"),
        ),
        negatives=dict(fn="avjax.losses.negatives.memory_bank", num_negatives=1024, momentum=0.5),
        loss_fn=dict(fn="avjax.losses.contrastive.nce"),
        terms=dict(v2a=1.0, a2v=1.0),
        temperature=dict(fn="avjax.losses.contrastive.fixed_temperature", temperature=0.07),
    )
    # Adam with the weight decay in the gradient, on every parameter; no schedule.
    c.optimizer = parts.with_l2_decay(1e-5, dict(fn="optax.adam", learning_rate=2e-4))
    c.evals = dict(
        kinetics=parts.suite(
            test=parts.eval_clips(test, **clip, num_clips=10),
            every=10_000,
        )
    )
    return c
