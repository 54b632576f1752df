"""XDC on Kinetics-400, the paper's recipe as far as published.  Alwassel et al., NeurIPS 2020,
https://arxiv.org/abs/1911.12667.

python -m avjax.main --config configs/xdc_kinetics.py --config.data.root=DIR --workdir runs/xdc

DIR as in configs/avid_kinetics.py.  `configs/xdc_kinetics.py:mdc`, `:sdc` and `:cdc` are its other
variants; `--config.method.clusters=128` is another number of clusters.

The paper, after fine-tuning on UCF101 and HMDB51: with 8 frames, from Kinetics, SDC 61.8 and 31.4,
MDC 68.4 and 37.1, CDC 72.9 and 37.5, XDC 74.2 and 39.0; on ESC-50 66.5, 70.3, 74.8 and 78.0.  XDC
with 32 frames: from Kinetics 86.8 and 52.6, from AudioSet 93.0 and 63.7.  Not yet run here.
"""

import ml_collections

from avjax.configs import optimizers, parts

VARIANTS = {
    "xdc": dict(video=("audio",), audio=("video",)),
    "sdc": dict(video=("video",), audio=("audio",)),
    "mdc": dict(video=("video", "audio"), audio=("video", "audio")),
    "cdc": dict(video=("video+audio",), audio=("video+audio",)),
}


def get_config(variant="xdc"):
    targets = parts.choose(VARIANTS, variant)
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size = 0, 256
    # Paper: batch, length, momentum and schedule are not given.  Here 5 iterations of about 20
    # clips per video; in each the schedule restarts and decays twice.
    c.steps = 90_000
    c.refresh_every = each = (c.get_ref("steps") + 4) // 5
    c.log_every, c.save_every, c.max_to_keep, c.init_examples = 20, 1000, 3, 256
    c.sharding_rules = ((".*", "fsdp"),)

    c.data = parts.user_videos()
    train, test = parts.user_splits(c.data)
    clip = dict(
        num_frames=8, fps=30.0, audio_seconds=2.0, sample_rate=16_000, frame_size=(256, 456)
    )
    c.device_transform = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=224)
    c.data.train = parts.train_clips(train, **clip)
    c.data.refresh = parts.eval_clips(train, **clip, num_clips=1)
    model = parts.towers(
        video=dict(fn="avjax.nets.video.resnet3d.r2plus1d", depth=18, dtype="bfloat16"),
        audio=dict(fn="avjax.nets.audio.acoustic_resnet.AcousticResNet", dtype="bfloat16"),
        head=(),
    )
    model["frontends"]["audio"] = dict(
        fn="avjax.nets.frontends.logmel.XDC", hop=320
    )  # For two seconds.
    c.method = dict(fn="avjax.methods.xdc", model=model, targets=targets, clusters=64, balance=1.0)
    decay = dict(
        fn="optax.exponential_decay",
        init_value=0.01, transition_steps=each // 3, decay_rate=0.1, staircase=True,
    )  # fmt: skip
    rate = dict(
        fn="optax.join_schedules",
        schedules=[decay] * 5,
        boundaries=[each * i for i in range(1, 5)],
    )
    c.optimizer = optimizers.with_l2_decay(
        1e-4, dict(fn="optax.sgd", learning_rate=rate, momentum=0.9)
    )
    eval_data = parts.suite(
        train=parts.eval_clips(train, **clip, num_clips=1),
        test=parts.eval_clips(test, **clip, num_clips=10),
    )
    eval_data["scores"].pop("retrieval")  # There is no joint embedding space.
    c.evals = dict(kinetics=eval_data)
    return c
