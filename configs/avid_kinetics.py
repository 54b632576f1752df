"""Cross-AVID on Kinetics-400, the paper's recipe.  Morgado et al., CVPR 2021,
https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/avid_kinetics.py --config.data.root=DIR --workdir runs/avid

DIR holds one folder of videos per class, or is the output of avjax.prepare;
`--config.data.splits=FILE` is a CSV with the columns `path` and `split`.  For a published data set:
`--config.data.source=kinetics` (audioset, vggsound, ...; see avjax/data/dataset.py).

If more than 1 % of the files have no audio, as in the published Kinetics, the run stops:
`--config.data.train.skip_no_audio=True` trains on the others, and `--config.data.quarantine=FILE`
excludes the files of a list, such as the one that avjax.prepare writes.

The paper: 232,067 videos, 30 epochs of 10 clips per video on 32 GPUs; after fine-tuning UCF101 86.9
and HMDB51 59.9 (32 frames).  Not yet run here.
"""

import ml_collections

from avjax.configs import optimizers, parts


def get_config():
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size = 0, 1024
    c.steps = 68_000  # 30 epochs of 10 clips of 232,067 videos.
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 1000, 3, 0
    c.init_examples = 1024
    # The rows of the bank are sharded over the devices.
    c.sharding_rules = (("memory/(video|audio)/rows$", (("data", "fsdp"),)), (".*", "fsdp"))

    c.data = parts.user_videos()
    train, test = parts.user_splits(c.data)
    clip = dict(
        num_frames=8, fps=16.0, audio_seconds=2.0, sample_rate=24_000, frame_size=(256, 456)
    )
    c.device_transform = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=224)
    c.data.train = parts.train_clips(train, **clip) | dict(repeats=10)
    c.method = dict(
        fn="avjax.methods.avid",
        # Paper: float32, and batch statistics of the 32 clips per GPU (batch_norm.batch_norm(32)).
        model=parts.towers(
            video=dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=18, dtype="bfloat16"),
            audio=dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", dtype="bfloat16"),
        ),
        negatives=dict(fn="avjax.losses.memory_bank", num_negatives=1024, momentum=0.5),
        loss_fn=dict(fn="avjax.losses.contrastive.nce"),
        terms=dict(v2a=1.0, a2v=1.0),
        temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=0.07),
    )
    # Adam with the weight decay in the gradient, on every parameter; no schedule.
    c.optimizer = optimizers.with_l2_decay(1e-5, dict(fn="optax.adam", learning_rate=2e-4))
    c.evals = dict(
        kinetics=parts.suite(
            test=parts.eval_clips(test, **clip, num_clips=10),
            every=10_000,
        )
    )
    return c
